package qemu

import (
	"regexp"

	"github.com/sendense/backup-agent/nbd"
)

// BlkdebugDriver is QEMU's filter that refuses zeroes. A QEMU can be built without it, or so that its tools may not use it
// (--block-drv-rw-whitelist).
const BlkdebugDriver = "blkdebug"

// cannotRefuse is what a QEMU says of that: bdrv_open_inherit and bdrv_open_common in block.c.
var cannotRefuse = regexp.MustCompile("(Unknown d|D)river '" + BlkdebugDriver)

// CannotRefuse says whether these are the words of a qemu-nbd that has no BlkdebugDriver to refuse zeroes by.
func CannotRefuse(words string) bool { return cannotRefuse.MatchString(words) }

// pieceBytes is how much of a WRITE is looked at for zeroes at once. Why so much: decision 22.
const pieceBytes = 192 << 10

// An injectError has blkdebug fail requests (BlkdebugInjectErrorOptions of QEMU's qapi/block-core.json).
type injectError struct {
	Event  string `json:"event"`
	IOType string `json:"iotype"`
	Errno  int    `json:"errno"`
}

// refusing stands a filter on a node that fails each WRITE_ZEROES before it reaches the node, from the first to the last: the
// event "none" is over when the filter is made, and what it has begun has no end. The error is EIO: on ENOTSUP, QEMU's block
// layer would write the zeroes itself (bdrv_co_do_pwrite_zeroes in block/io.c).
//
// What the nodes below take at once, pieceBytes, would become the largest request that the server advertises, and libnbd 1.16
// and newer, which SBC is built with, then refuses to send a larger one than 1 MiB. So the filter says again what qemu-nbd
// takes: 32 MiB.
func refusing(node *blockNode) *blockNode {
	return &blockNode{
		Driver: BlkdebugDriver, Image: node, MaxTransfer: nbd.MaxPayload,
		InjectError: []injectError{{Event: "none", IOType: "write-zeroes", Errno: nbdEIO}},
	}
}

// nbdEIO is EIO, which is 5 for QEMU, for Linux and on the wire.
const nbdEIO = 5

// finding has an image look for zeroes in what is written to it, and keep no room for them. QEMU looks at a request as a whole,
// so a filter cuts large ones into pieces first.
func finding(image *blockNode) *blockNode {
	image.Discard, image.DetectZeroes = "unmap", "unmap"
	return &blockNode{Driver: BlkdebugDriver, Image: image, MaxTransfer: pieceBytes}
}
