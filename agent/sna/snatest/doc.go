// Package snatest simulates an SNA, its SBC processes and their VMs, at the wire: a
// real HTTP server, real NBD clients, real callbacks.
//
// It behaves as sna/api/server.go and sendense-backup-client of
// github.com/DRDAVIDBANNER/sendense do, including harmful habits:
//
//   - Every accepted POST of a start forks another SBC, whatever its job id.
//   - SBC first deletes every snapshot "sbak-*" of its VM, which destroys a run that
//     still reads from one.
//   - It takes one snapshot of all disks, then copies them one after another, the
//     whole of [0, capacity), with two NBD connections each. The first one of a
//     full copy stays idle while three workers share the second one; it is closed
//     last, after the disk's completion was reported. That of an incremental copy
//     is lost, see [LostHandle].
//   - Of a chunk of 4 MiB or more it reads five samples of 8 KiB, and writes it as
//     zeroes if these are zero, whatever is between them. Only if an export refuses
//     zeroes, the chunk is read and written.
//   - It never sends FLUSH, TRIM or FUA, never reconnects, and never asks an
//     export for its size. Each piece is tried four times, over seven seconds, and
//     read again each time.
//   - It decides by itself between a full copy and an incremental one, from the
//     change id that the SHA answers. It asks before it knows the export name,
//     so it asks for disk 0 every time; if the UUID in that id belongs to another
//     disk, it copies the whole disk.
//   - It reports each disk before it disconnects, treats any answer but 200 as a
//     failure, and waits for the answer without a time limit.
//   - It reports nothing to the SNA before its snapshot, and never a failure.
//
// docs/contract.md has all of it, and says what was measured and what was read in the
// source; docs/decisions/0021-sna-simulator.md says what may be turned off.
//
// One run, with the points at which [Server.Hold] can stop it:
//
//	POST -> 200 -> [login] -> [snapshot] -> snapshot taken -> for each disk N:
//	  GET changeid -> [disk/N] -> connect -> GET changeid, if incremental -> connect again
//	  -> first half -> [copy/N] -> second half -> telemetry "completed" -> the second connection closes
//	  -> [complete/N] -> POST complete -> [disconnect/N] -> disconnect
//	-> [remove] -> snapshot removed -> finished
//
// [Server.State] is what a test can see, and [Faults] what it can break.
//
// This package is the SNA: its API, its memory of jobs, and what a test controls
// it by. The clients that it starts are in package client, the VMs that they read
// in package vcenter, and what can be broken in package fault.
package snatest
