package rawdisk

import (
	"crypto/rand"
	"errors"
	"os"
)

// Scatter is the size of each change.
const Scatter = 64 << 10 // what has changed at each place, in bytes

// WriteScattered makes a raw disk that holds only what has changed, never two places side by side. Of a kind as of a full backup:
// all that changes is random, or half of it is zeroed, or only one place in eight changes.
func WriteScattered(path, kind string, size int64) (changed int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, zeroes := make([]byte, Scatter), make([]byte, Scatter)
	// A place moves within its 512 KiB, so that it meets the clusters of an image at every offset.
	for at, i := int64(0), int64(0); at+512<<10 <= size; at, i = at+512<<10, i+1 {
		what := data
		if i%Parts[kind] != 0 {
			if kind == "sparse" {
				continue
			}
			what = zeroes
		}
		_, _ = rand.Read(data)
		if _, err := f.WriteAt(what, at+i%8*Scatter); err != nil {
			return 0, err
		}
		changed += Scatter
	}
	return changed, errors.Join(f.Truncate(size), f.Sync())
}
