// Package tarfilter passes on of a tar archive that nobody vouches for what may be: files, directories and links, under names that lead
// nowhere else; into a directory, or into another archive.
package tarfilter

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Result is what a filter has passed on, and what it has not.
type Result struct {
	Files       int      `json:"files"`
	Directories int      `json:"directories"`
	Links       int      `json:"links"`
	Bytes       int64    `json:"bytes"`
	LeftOut     int      `json:"left_out"`        // device nodes, FIFOs, sockets
	Refused     int      `json:"refused"`         // what cannot be, as a name twice in a directory
	Notes       []string `json:"notes,omitempty"` // the first of both, and why
}

// mostNotes is how much of what is not copied is named.
const mostNotes = 100

func (f *Result) note(format string, args ...any) {
	if len(f.Notes) < mostNotes {
		f.Notes = append(f.Notes, fmt.Sprintf(format, args...))
	}
}

// ErrRefused is the error when something was in the way of what may be made.
var ErrRefused = errors.New("not everything was copied")

// A Sink takes what has passed the sifting. Names are local, and slashes are between their parts.
type Sink interface {
	directory(name string, h *tar.Header) error
	file(name string, h *tar.Header, content io.Reader) error
	symlink(name string, h *tar.Header) error
	hardlink(name, first string, h *tar.Header) error
	end() error
}

// Filter passes on of an archive what may be: files, directories and links, under names that lead nowhere else. Whoever made the
// archive has read a disk that nobody vouches for.
func (f *Result) Filter(source string, r io.Reader, s Sink) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// What stands after the end of the archive is no part of it, but how all ended is told after it.
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return fmt.Errorf("what came of %s is cut off or damaged: %w", source, err)
		}
		if err := f.pass(s, h, archive); err != nil {
			return err
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	if f.Refused > 0 {
		return fmt.Errorf("%w: %d of what is in %s cannot be as it is there", ErrRefused, f.Refused, source)
	}
	return nil
}

// pass passes one thing on.
func (f *Result) pass(s Sink, h *tar.Header, content io.Reader) error {
	name, ok := localName(h.Name)
	if !ok {
		return f.refuse(h.Name, errors.New("a name that leads elsewhere"))
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return f.did(&f.Directories, h, s.directory(name, h))
	case tar.TypeReg, tar.TypeGNUSparse:
		return f.did(&f.Files, h, s.file(name, h, content))
	case tar.TypeSymlink:
		return f.did(&f.Links, h, s.symlink(name, h))
	case tar.TypeLink:
		first, ok := localName(h.Linkname)
		if !ok {
			return f.refuse(h.Name, errors.New("a link that leads elsewhere"))
		}
		return f.did(&f.Files, h, s.hardlink(name, first, h))
	}
	f.LeftOut++
	f.note("left out: %s: it is a device node, a FIFO or a socket", h.Name)
	return nil
}

// did counts what was done. What the file system here does not take is told, and the rest goes on.
func (f *Result) did(n *int, h *tar.Header, err error) error {
	for _, here := range []error{fs.ErrExist, syscall.ENAMETOOLONG, syscall.EINVAL, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, errElsewhere} {
		if errors.Is(err, here) {
			return f.refuse(h.Name, err)
		}
	}
	if err == nil {
		*n++
	}
	return err
}

func (f *Result) refuse(name string, why error) error {
	f.Refused++
	f.note("not copied: %s: %v", name, why)
	return nil
}

// localName is the name of a part of an archive, if it stays below.
func localName(name string) (string, bool) {
	if strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return "", false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", false
		}
	}
	name = path.Clean(name)
	return name, filepath.IsLocal(name)
}

// errElsewhere is the error when a name leads through a link.
var errElsewhere = errors.New("it lies behind a symbolic link")
