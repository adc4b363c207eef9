// Package qemu is all that the agent asks of QEMU's programs. It makes the command line of a qemu-nbd that serves one image
// ([ServerOptions]), and runs qemu-img to create, check, merge, compare and flatten images ([Tools]), confined to the files of
// that one run.
//
// It never starts qemu-nbd: the caller does, and hands it a listening socket (LISTEN_FDS). It knows nothing of repositories,
// manifests and records: it is given paths.
//
// Images are untrusted: no backing or data file that a header names is opened.
package qemu
