// Package powerloss records what processes do to file systems, and says what a disk may keep of it when the power goes.
//
// A [Recorder] serves file systems of its own through FUSE, held in memory, and writes every change down in one order: data,
// sizes, names, and what was synced. It stands below the page cache, so it sees what any process writes, by whatever system
// call: io_uring, O_DIRECT, and pages of a database as well.
//
// A [Disk] goes through such a log. At each place in it Disk knows what must be there, whatever the disk did with the rest:
//
//   - what was written to a file is there once the file was synced. Until then each write may be there, or not, or in part,
//     one 512-byte sector without the next, and the file may have grown without it;
//   - that a name was made, moved or removed is there once its directory was synced, both directories for a move between
//     two. Until then each such change may be there or not, whatever happened to those before and after it. To sync a file
//     does not sync its name. A rename is there as a whole or not at all.
//
// This is less than ext4, xfs and btrfs keep, and all that POSIX promises. What a journal does, which keeps changes of names
// in their order, is one of the losses that a Disk knows too: see [Loss].
package powerloss
