// Package nbd is everything the agent knows about NBD and qcow2: the names a
// VM gets on the wire and on disk, the port range, the targets string the
// backup client parses, the command line of qemu-nbd, the qemu-img commands,
// and a small NBD client that proves an export is really being served.
//
// It makes argument lists and runs qemu-img; it never starts qemu-nbd. Whoever
// does hands qemu-nbd a listening socket (LISTEN_FDS), see [ServerOptions].
//
// Images and servers are treated as untrusted: no length read from the wire is
// believed, no backing or data file named by an image header is opened here.
package nbd
