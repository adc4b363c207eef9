// Package snatest stands in for an SNA, its SBC processes and the VMs behind
// them, at the wire: a real HTTP server, real NBD clients, real calls back.
//
// It behaves as sna/api/server.go and sendense-backup-client of
// github.com/DRDAVIDBANNER/sendense do, harmful habits included:
//
//   - Every accepted POST of a start forks one more SBC, whatever its job id.
//   - SBC begins by deleting every snapshot "sbak-*" of its VM, which destroys a
//     run that still reads from one.
//   - It takes one snapshot of all disks, then copies them one after another,
//     the whole of [0, capacity), with 2 to 10 NBD connections each. The first
//     one stays idle while the others write; it is closed last, after the
//     disk's completion was reported.
//   - It never sends FLUSH, TRIM or FUA, never reconnects, and never asks an
//     export for its size.
//   - It decides by itself between a full copy and an incremental one, from the
//     change id that the SHA answers. It asks before it knows the export name,
//     so it asks for disk 0 every time; the UUID in that id then belongs to
//     another disk, and every disk but the first is copied whole.
//   - It reports each disk before it disconnects, takes any answer but 200 as a
//     failure, and waits for the answer without a time limit.
//
// One run, with the points at which [Server.Hold] can stop it:
//
//	POST -> 200 -> [login] -> [snapshot] -> for each disk N:
//	  GET changeid -> [disk/N] -> connect -> first half -> [copy/N] -> second half
//	  -> telemetry "completed" -> [complete/N] -> POST complete -> [disconnect/N] -> disconnect
//	-> [remove] -> snapshot removed -> finished
//
// What a test wants to see is in [Server.State]; what it wants to break is in
// [Faults].
package snatest
