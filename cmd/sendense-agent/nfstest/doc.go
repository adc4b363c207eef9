// Package nfstest holds a test that keeps a repository on NFS. The server is nfs-ganesha, a program like any other. The client is the
// kernel's, in a small virtual machine, because the kernel of a machine that tests often has none.
//
// It tests package repository on the real file system, and what the errors of a server that is away become. Whole backups on a file
// system that cannot exchange directories are package crashtest's.
package nfstest
