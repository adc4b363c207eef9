package rawdisk

import (
	"crypto/rand"
	"errors"
	"os"
)

// Scatter is the size of each change.
const Scatter = 64 << 10 // bytes

// WriteScattered makes a raw disk with only the changes, which are never adjacent. By kind, all changes are random data, half of them are
// zeroes, or only one place in eight changes.
func WriteScattered(path, kind string, size int64) (changed int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, zeroes := make([]byte, Scatter), make([]byte, Scatter)
	// The offset within each 512 KiB varies, so that changes begin anywhere in the clusters of an image.
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
