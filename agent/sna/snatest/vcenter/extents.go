package vcenter

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// An Extent is a part of a disk, in bytes.
type Extent struct{ Offset, Length int64 }

// End is the offset behind the last byte.
func (e Extent) End() int64 { return e.Offset + e.Length }

// dataExtents are the parts of [0, capacity) that the file system holds data
// for, in order. A file system that cannot tell has one, the whole file.
func dataExtents(file *os.File, capacity int64) ([]Extent, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	size = min(size, capacity)
	var found []Extent
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || start >= size && err == nil {
			break
		}
		if errors.Is(err, unix.EINVAL) {
			return []Extent{{Offset: 0, Length: size}}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("seek data: %w", err)
		}
		end, err := unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("seek hole: %w", err)
		}
		end = min(end, size)
		found = append(found, Extent{Offset: start, Length: end - start})
		at = end
	}
	return found, nil
}

// ReadAt fills p; beyond the end of the source the disk reads as zeroes.
func ReadAt(from io.ReaderAt, p []byte, offset int64) error {
	n, err := from.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
}
