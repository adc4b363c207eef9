package qemu

import (
	"io/fs"
	"time"

	"github.com/sendense/backup-agent/nbd/confine"
)

// Limits of qemu-img, in bytes. An image is untrusted: its header can ask for tables of any size, and its tables can form loops.
// With an intact image, qemu-img 7.2 uses about 250 MiB of address space, with all its threads 850 MiB.
const (
	toolMemory    = 2 << 30
	maxToolMemory = 8 << 30
	createdBytes  = 1 << 30 // metadata of a new image: some MiB at most
	repairBytes   = 1 << 30 // metadata that a repair may add to a file
)

// reading is for commands that take milliseconds and write nothing.
func reading() confine.Limits {
	return confine.Limits{MemoryBytes: toolMemory, CPU: time.Minute}
}

// creating is for a new image.
func creating() confine.Limits {
	l := reading()
	l.FileBytes = createdBytes
	return l
}

// checking is for a check of all metadata of an image. It keeps 2 bytes per cluster of the file, and twice that while the table
// grows: 1/16384 of the file's size with clusters of 64 KiB.
func checking(image fs.FileInfo) confine.Limits {
	size := uint64(max(image.Size(), 0))
	return confine.Limits{MemoryBytes: min(toolMemory+size/8192, maxToolMemory), CPU: time.Hour}
}

// repairing is checking that may write.
func repairing(image fs.FileInfo) confine.Limits {
	l := checking(image)
	l.FileBytes = uint64(max(image.Size(), 0)) + repairBytes
	return l
}

// dataCPU is for commands that copy or compare data. Disks bound their speed and they need little processor time: the limit only
// stops endless loops.
const dataCPU = 48 * time.Hour

// merging is for a new image of a disk of the size given, with its metadata.
func merging(size int64) confine.Limits {
	data := uint64(max(size, 0))
	return confine.Limits{MemoryBytes: 2 * toolMemory, FileBytes: data + data/64 + createdBytes, CPU: dataCPU}
}

// comparing is for reading two chains of images.
func comparing() confine.Limits { return confine.Limits{MemoryBytes: 2 * toolMemory, CPU: dataCPU} }
