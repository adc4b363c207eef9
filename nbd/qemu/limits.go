package qemu

import (
	"io/fs"
	"time"

	"github.com/sendense/backup-agent/nbd/confine"
)

// What qemu-img may use. An image is untrusted: its header can ask for tables of any size, and tables can lead in circles.
// Of address space an honest qemu-img 7.2 takes about 250 MiB, with all its threads 850 MiB.
const (
	toolMemory    = 2 << 30
	maxToolMemory = 8 << 30
	createdBytes  = 1 << 30 // metadata of a new image: some MiB at most
	repairBytes   = 1 << 30 // metadata that a repair may add to a file
)

// reading is for what takes milliseconds and writes nothing.
func reading() confine.Limits {
	return confine.Limits{MemoryBytes: toolMemory, CPU: time.Minute}
}

// creating is for a new image.
func creating() confine.Limits {
	l := reading()
	l.FileBytes = createdBytes
	return l
}

// checking is for all the metadata of an image. The check keeps 2 bytes for each cluster of the file, twice while that
// grows: with clusters of 64 KiB, 1/16384 of the file's size.
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

// Data is copied and compared at the speed of disks, and the processor has little to do with it: these limits only stop what goes
// in circles.
const dataCPU = 48 * time.Hour

// merging is for a new image of a disk of the size given, with its metadata.
func merging(size int64) confine.Limits {
	data := uint64(max(size, 0))
	return confine.Limits{MemoryBytes: 2 * toolMemory, FileBytes: data + data/64 + createdBytes, CPU: dataCPU}
}

// comparing is for reading two chains of images.
func comparing() confine.Limits { return confine.Limits{MemoryBytes: 2 * toolMemory, CPU: dataCPU} }
