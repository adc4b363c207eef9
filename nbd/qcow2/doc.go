// Package qcow2 reads what the header and the refcounts of a qcow2 image say. Everything in an image is untrusted: no length in
// it is believed, and a file that it names is never opened. The package opens no file and runs no program, and it does not read
// what a guest has written: package qemu does both, and knows keys and chains.
package qcow2
