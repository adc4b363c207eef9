package snatest

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// extent is a part of a disk, in bytes.
type extent struct{ offset, length int64 }

func (e extent) end() int64 { return e.offset + e.length }

// dataExtents are the parts of [0, capacity) that the file system holds data
// for, in order. A file system that cannot tell has one, the whole file.
func dataExtents(file *os.File, capacity int64) ([]extent, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	size = min(size, capacity)
	var found []extent
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || start >= size && err == nil {
			break
		}
		if errors.Is(err, unix.EINVAL) {
			return []extent{{0, size}}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("seek data: %w", err)
		}
		end, err := unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("seek hole: %w", err)
		}
		end = min(end, size)
		found = append(found, extent{start, end - start})
		at = end
	}
	return found, nil
}
