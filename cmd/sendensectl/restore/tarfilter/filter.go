// Package tarfilter copies from an untrusted tar archive what is safe: files, directories and links, with names that stay below the
// destination. The destination is a directory or another archive.
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

// Result counts what was copied, and what was not.
type Result struct {
	Files       int      `json:"files"`
	Directories int      `json:"directories"`
	Links       int      `json:"links"`
	Bytes       int64    `json:"bytes"`
	LeftOut     int      `json:"left_out"`        // device nodes, FIFOs, sockets
	Refused     int      `json:"refused"`         // not possible here, such as a name twice in a directory
	Notes       []string `json:"notes,omitempty"` // the first of both, with the reason
}

// mostNotes is the maximum number of notes.
const mostNotes = 100

func (f *Result) note(format string, args ...any) {
	if len(f.Notes) < mostNotes {
		f.Notes = append(f.Notes, fmt.Sprintf(format, args...))
	}
}

// ErrRefused is the error if an entry could not be copied.
var ErrRefused = errors.New("not everything was copied")

// A Sink takes the entries that passed the filter. Their names are local, with slashes between the parts.
type Sink interface {
	directory(name string, h *tar.Header) error
	file(name string, h *tar.Header, content io.Reader) error
	symlink(name string, h *tar.Header) error
	hardlink(name, first string, h *tar.Header) error
	end() error
}

// Filter copies files, directories and links from an archive to a sink. The archive is not trusted: its writer has read an untrusted
// disk. source names it in errors.
func (f *Result) Filter(source string, r io.Reader, s Sink) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// After the end of the archive, the stream reports its result: read it to the end.
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return fmt.Errorf("the data of %s is truncated or damaged: %w", source, err)
		}
		if err := f.pass(s, h, archive); err != nil {
			return err
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	if f.Refused > 0 {
		return fmt.Errorf("%w: %d entries of %s are not possible here", ErrRefused, f.Refused, source)
	}
	return nil
}

// pass copies one entry.
func (f *Result) pass(s Sink, h *tar.Header, content io.Reader) error {
	name, ok := localName(h.Name)
	if !ok {
		return f.refuse(h.Name, errors.New("the name leads out of the directory"))
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
			return f.refuse(h.Name, errors.New("the link leads out of the directory"))
		}
		return f.did(&f.Files, h, s.hardlink(name, first, h))
	}
	f.LeftOut++
	f.note("skipped: %s: a device node, FIFO or socket", h.Name)
	return nil
}

// did counts an entry. If the file system refuses it, did makes a note, and the copy continues.
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

// localName is the cleaned name of an entry, if it stays below the destination.
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

// errElsewhere is the error if a name leads through a link.
var errElsewhere = errors.New("the path leads through a symbolic link")
