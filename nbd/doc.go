// Package nbd is the wire between a backup client and an export: the names that a VM gets on the wire and on disk, the port
// range, the targets string that the client parses, and a small NBD client that proves that an export is served, and that reads,
// writes and flushes it.
//
// It starts nothing and opens no file. The programs that serve and make images are package qemu's; what the kernel knows of
// connections is package sockets's.
//
// Servers are untrusted: no length read from the wire is believed.
package nbd
