package repository

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpaceOf: statfs counts in f_frsize; f_bsize is used only if the kernel gives no f_frsize.
func TestSpaceOf(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		st          unix.Statfs_t
		free, total uint64
	}{
		"both the same":            {unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 1000, Bfree: 500, Bavail: 400}, 400 * 4096, 1000 * 4096},
		"FUSE reads in large ones": {unix.Statfs_t{Bsize: mib, Frsize: 4096, Blocks: 76800, Bfree: 38400, Bavail: 38400}, 150 * mib, 300 * mib},
		"small blocks":             {unix.Statfs_t{Bsize: 512, Frsize: 8192, Blocks: 100, Bfree: 100, Bavail: 100}, 100 * 8192, 100 * 8192},
		"no f_frsize":              {unix.Statfs_t{Bsize: 4096, Blocks: 10, Bfree: 5, Bavail: 5}, 5 * 4096, 10 * 4096},
		"kept for root":            {unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 10, Bfree: 5}, 0, 10 * 4096},
		"below zero":               {unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 10, Bfree: 5, Bavail: math.MaxUint64 - 2}, 0, 10 * 4096},
	} {
		t.Run(name, func(t *testing.T) {
			if got := spaceOf(c.st); got.Free != c.free || got.Total != c.total {
				t.Errorf("%d of %d bytes are free, want %d of %d", got.Free, got.Total, c.free, c.total)
			}
		})
	}
}
