// Package storage is the one way to the files of a repository. Whatever the agent does with them, it asks a [Repository] here, and a
// process of its own does it: package repository makes and reads the directories there, package qemu runs qemu-img. The agent itself
// opens no file of a repository, so a file system that hangs stops neither the agent nor the programs that it starts.
//
// Every question has a context, and its caller leaves as soon as the context ends. What the question asked for may still happen later,
// when the file system answers again: the reconciler removes what was left. The package knows for each repository whether it answers
// ([Health]): every caller may ask that first, and it costs nothing.
//
// It knows no records, no jobs and no units: package process starts the process in a unit.
package storage
