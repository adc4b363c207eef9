package qemu

import (
	"regexp"

	"github.com/sendense/backup-agent/nbd"
)

// BlkdebugDriver is QEMU's filter that refuses zeroes. QEMU can be built without it, or so that qemu-nbd may not use it
// (--block-drv-rw-whitelist).
const BlkdebugDriver = "blkdebug"

// cannotRefuse matches QEMU's message about that: bdrv_open_inherit and bdrv_open_common in block.c.
var cannotRefuse = regexp.MustCompile("(Unknown d|D)river '" + BlkdebugDriver)

// CannotRefuse reports whether these are the words of a qemu-nbd that cannot refuse zeroes, as it has no BlkdebugDriver.
func CannotRefuse(words string) bool { return cannotRefuse.MatchString(words) }

// pieceBytes is the size of the pieces of a WRITE in which QEMU looks for zeroes, and pieceAlign is what they are aligned to: the clusters of
// an overlay. Why these sizes: decisions 22 and 46.
const (
	pieceBytes = 192 << 10
	pieceAlign = 64 << 10
)

// An injectError makes blkdebug fail requests (BlkdebugInjectErrorOptions of QEMU's qapi/block-core.json).
type injectError struct {
	Event  string `json:"event"`
	IOType string `json:"iotype"`
	Errno  int    `json:"errno"`
}

// refuseZeroes puts a filter above a node that fails every WRITE_ZEROES before it reaches the node: the rule is in force from the
// event "none", which is when the filter is made, and has no end. The error is EIO: for ENOTSUP, QEMU's block layer would write
// the zeroes itself (bdrv_co_do_pwrite_zeroes in block/io.c).
//
// Without MaxTransfer the server would advertise the largest request of the nodes below, pieceBytes, and libnbd 1.16 and newer,
// which SBC is built with, would refuse to send more than 1 MiB. So the filter sets it to what qemu-nbd accepts: 32 MiB.
func refuseZeroes(node *blockNode) *blockNode {
	return &blockNode{
		Driver: BlkdebugDriver, Image: node, MaxTransfer: nbd.MaxPayload,
		InjectError: []injectError{{Event: "none", IOType: "write-zeroes", Errno: nbdEIO}},
	}
}

// nbdEIO is EIO: 5 for QEMU, for Linux and on the wire.
const nbdEIO = 5

// detectZeroes makes an image free the space of zeroes that are written to it. QEMU looks at a request as a whole, so a filter
// splits large requests into pieces first. The pieces are aligned: SBC's workers begin anywhere, and each piece that ended within a cluster
// would cost one more allocation. The filter reads what is missing of the first and the last piece, and no request comes in between.
func detectZeroes(image *blockNode, sizeBytes int64) *blockNode {
	image.Discard, image.DetectZeroes = "unmap", "unmap"
	return &blockNode{Driver: BlkdebugDriver, Image: image, MaxTransfer: pieceBytes, Align: alignFor(sizeBytes)}
}

// alignFor is the largest alignment, up to pieceAlign, that a disk is a multiple of: QEMU refuses others. It is 0, for none, if the size is
// not known.
func alignFor(sizeBytes int64) int64 { return min(sizeBytes&-sizeBytes, pieceAlign) }
