package digest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alignment is enough for O_DIRECT on every file system: no disk has larger logical blocks.
const alignment = 4096

// A reader reads a file past the page cache.
type reader struct {
	Options
	f      *os.File
	size   int64
	direct bool // with O_DIRECT; otherwise read data is dropped from the cache
}

// newReader sets O_DIRECT on the file. If that is refused, it drops the file from the cache, so that the disk is read all the same: the
// writes of the exporter are on the disk by then.
func newReader(f *os.File, size int64, o Options) *reader {
	r := &reader{Options: o, f: f, size: size}
	r.direct = setDirect(f, true) == nil
	if !r.direct {
		r.drop(0, 0)
	}
	return r
}

func setDirect(f *os.File, on bool) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	return err
}

// drop drops clean pages from the cache; a length of 0 means to the end. It may fail without harm.
func (r *reader) drop(at, length int64) {
	_ = unix.Fadvise(int(r.f.Fd()), at, length, unix.FADV_DONTNEED)
}

// nextData finds the next data from an offset on, extended to the alignment of O_DIRECT. Some file systems report no holes.
func (r *reader) nextData(at int64) (start, end int64, err error) {
	fd := int(r.f.Fd())
	start, err = unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but a hole to the end
		return r.size, r.size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return at, r.size, nil
	case err != nil:
		return 0, 0, &fs.PathError{Op: "seek", Path: r.f.Name(), Err: err}
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, &fs.PathError{Op: "seek", Path: r.f.Name(), Err: err}
	}
	start = max(start/alignment*alignment, at)
	end = (end + alignment - 1) / alignment * alignment
	return start, min(end, r.size), nil
}

// readAt fills the first want bytes of an aligned buffer.
func (r *reader) readAt(buffer []byte, want, at int64) error {
	for done := int64(0); done < want; {
		length := (want - done + alignment - 1) / alignment * alignment
		n, err := unix.Pread(int(r.f.Fd()), buffer[done:done+length], at+done)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EINVAL) && r.direct: // some file systems accept the flag and refuse the read
			r.direct = false
			if err := setDirect(r.f, false); err != nil {
				return fmt.Errorf("%s: %w", r.f.Name(), err)
			}
			r.drop(0, 0)
			continue
		case err != nil:
			return fmt.Errorf("at byte %d: %w", at+done, &fs.PathError{Op: "read", Path: r.f.Name(), Err: err})
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		done += int64(n)
		if r.direct && done < want && done%alignment != 0 {
			done = done / alignment * alignment // O_DIRECT cannot continue here: this part is read again
			if n < alignment {
				return io.ErrUnexpectedEOF
			}
		}
	}
	if !r.direct {
		r.drop(at, want)
	}
	return nil
}

// aligned makes a buffer with the alignment of O_DIRECT.
func aligned(size int) []byte {
	b := make([]byte, size+alignment)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (alignment - 1)
	return b[skip : skip+size]
}
