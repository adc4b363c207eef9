package tarfilter

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// Directory is a sink that writes files below a directory. os.Root guarantees that nothing is written outside, whatever the names
// and links.
type Directory struct {
	root *os.Root
	base string // below the root: the name of the copy
	dirs []made
}

// NewDirectory makes a sink that writes to base below the root.
func NewDirectory(root *os.Root, base string) *Directory {
	return &Directory{root: root, base: base}
}

// made is a directory. Its mode and time are set when it is complete.
type made struct {
	name     string
	mode     fs.FileMode
	modified time.Time
}

func (s *Directory) below(name string) string { return path.Join(s.base, name) }

// parents makes the parent directories of a name. It fails if one is a link.
func (s *Directory) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	at := ""
	for part := range strings.SplitSeq(dir, "/") {
		at = path.Join(at, part)
		info, err := s.root.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = s.root.Mkdir(at, 0o700)
		case err == nil && !info.IsDir():
			err = fmt.Errorf("%s: %w", at, errElsewhere)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Directory) directory(name string, h *tar.Header) error {
	name = s.below(name)
	if err := s.parents(name); err != nil {
		return err
	}
	if err := s.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	s.dirs = append(s.dirs, made{name, fs.FileMode(h.Mode) & fs.ModePerm, h.ModTime})
	return nil
}

func (s *Directory) file(name string, h *tar.Header, content io.Reader) error {
	_, err := s.write(s.below(name), uint32(h.Mode), h.ModTime, content)
	return err
}

// WriteFile writes a single file instead of a directory.
func (s *Directory) WriteFile(mode uint32, modified time.Time, content io.Reader) (int64, error) {
	return s.write(s.base, mode, modified, content)
}

// write writes a sparse file, without setuid and setgid bits.
func (s *Directory) write(name string, mode uint32, modified time.Time, content io.Reader) (int64, error) {
	if err := s.parents(name); err != nil {
		return 0, err
	}
	out, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(mode)&fs.ModePerm)
	if err != nil {
		return 0, err
	}
	n, err := copySparse(out, content)
	if err := errors.Join(err, out.Close()); err != nil {
		return n, err
	}
	return n, s.root.Chtimes(name, modified, modified)
}

func (s *Directory) symlink(name string, h *tar.Header) error {
	name = s.below(name)
	if err := s.parents(name); err != nil {
		return err
	}
	return s.root.Symlink(h.Linkname, name)
}

func (s *Directory) hardlink(name, first string, _ *tar.Header) error {
	name, first = s.below(name), s.below(first)
	if err := s.parents(name); err != nil {
		return err
	}
	if info, err := s.root.Lstat(first); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("a hard link to %s, which was not copied: %w", first, fs.ErrExist)
	}
	return s.root.Link(first, name)
}

// end sets the mode and time of the directories, the innermost first.
func (s *Directory) end() error {
	for i := len(s.dirs) - 1; i >= 0; i-- {
		d := s.dirs[i]
		if err := s.root.Chtimes(d.name, d.modified, d.modified); err != nil {
			return err
		}
		if err := s.root.Chmod(d.name, d.mode&^umask()); err != nil {
			return err
		}
	}
	return nil
}

// umask is the umask of the process.
func umask() fs.FileMode {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return fs.FileMode(mask) & fs.ModePerm
}

// fill reads until the block is full or the input ends.
func fill(in io.Reader, block []byte) (n int, err error) {
	for n < len(block) && err == nil {
		var got int
		got, err = in.Read(block[n:])
		n += got
	}
	return n, err
}

// copySparse copies, and skips blocks of zeroes.
func copySparse(out *os.File, in io.Reader) (int64, error) {
	block, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	var n int64
	for {
		got, err := fill(in, block)
		if got > 0 && string(block[:got]) != string(zero[:got]) {
			if _, err := out.WriteAt(block[:got], n); err != nil {
				return n, err
			}
		}
		n += int64(got)
		switch {
		case err == io.EOF: // not an error that wraps it: a truncated input
			return n, out.Truncate(n)
		case err != nil:
			return n, err
		}
	}
}
