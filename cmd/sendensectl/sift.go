package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// filtered is what a filter has passed on, and what it has not.
type filtered struct {
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

func (f *filtered) note(format string, args ...any) {
	if len(f.Notes) < mostNotes {
		f.Notes = append(f.Notes, fmt.Sprintf(format, args...))
	}
}

// errRefused is the error when something was in the way of what may be made.
var errRefused = errors.New("not everything was copied")

// A sink takes what has passed the sifting. Names are local, and slashes are between their parts.
type sink interface {
	directory(name string, h *tar.Header) error
	file(name string, h *tar.Header, content io.Reader) error
	symlink(name string, h *tar.Header) error
	hardlink(name, first string, h *tar.Header) error
	end() error
}

// filter passes on of an archive what may be: files, directories and links, under names that lead nowhere else. Whoever made the
// archive has read a disk that nobody vouches for.
func (f *filtered) filter(source string, r io.Reader, s sink) error {
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
		return fmt.Errorf("%w: %d of what is in %s cannot be as it is there", errRefused, f.Refused, source)
	}
	return nil
}

// pass passes one thing on.
func (f *filtered) pass(s sink, h *tar.Header, content io.Reader) error {
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
func (f *filtered) did(n *int, h *tar.Header, err error) error {
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

func (f *filtered) refuse(name string, why error) error {
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

// directorySink makes files below a directory, and nothing elsewhere, whatever names and links are there: os.Root sees to it.
type directorySink struct {
	root *os.Root
	base string // the name, below the root, of what is made
	dirs []made
}

func newDirectorySink(root *os.Root, base string) *directorySink {
	return &directorySink{root: root, base: base}
}

// made is a directory whose mode and time are set when all is in it.
type made struct {
	name     string
	mode     fs.FileMode
	modified time.Time
}

func (s *directorySink) below(name string) string { return path.Join(s.base, name) }

// parents makes the directories that something lies in, and looks that none is a link.
func (s *directorySink) parents(name string) error {
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

func (s *directorySink) directory(name string, h *tar.Header) error {
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

func (s *directorySink) file(name string, h *tar.Header, content io.Reader) error {
	_, err := s.write(s.below(name), uint32(h.Mode), h.ModTime, content)
	return err
}

// only makes one file, in place of a directory.
func (s *directorySink) only(mode uint32, modified time.Time, content io.Reader) (int64, error) {
	return s.write(s.base, mode, modified, content)
}

// write makes a file, with holes where there is nothing but zeroes, and without the bits that give rights to whoever runs it.
func (s *directorySink) write(name string, mode uint32, modified time.Time, content io.Reader) (int64, error) {
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

func (s *directorySink) symlink(name string, h *tar.Header) error {
	name = s.below(name)
	if err := s.parents(name); err != nil {
		return err
	}
	return s.root.Symlink(h.Linkname, name)
}

func (s *directorySink) hardlink(name, first string, _ *tar.Header) error {
	name, first = s.below(name), s.below(first)
	if err := s.parents(name); err != nil {
		return err
	}
	if info, err := s.root.Lstat(first); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("a second name of %s, which was not copied: %w", first, fs.ErrExist)
	}
	return s.root.Link(first, name)
}

// end gives directories their mode and time, the innermost first.
func (s *directorySink) end() error {
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

// umask is what the caller wants nobody to have.
func umask() fs.FileMode {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return fs.FileMode(mask) & fs.ModePerm
}

// fill reads until the block is full.
func fill(in io.Reader, block []byte) (n int, err error) {
	for n < len(block) && err == nil {
		var got int
		got, err = in.Read(block[n:])
		n += got
	}
	return n, err
}

// archiveSink writes an archive anew, of what has passed.
type archiveSink struct {
	w     *tar.Writer
	links map[string]bool // symbolic links, behind which nothing may lie
}

func newArchiveSink(w *tar.Writer) *archiveSink {
	return &archiveSink{w: w, links: map[string]bool{}}
}

func (s *archiveSink) header(name string, h *tar.Header, kind byte, size int64) error {
	for at := path.Clean(name); at != "."; at = path.Dir(at) {
		if s.links[at] {
			return fmt.Errorf("%s: %w", at, errElsewhere)
		}
	}
	if kind == tar.TypeSymlink {
		s.links[name] = true
	}
	return s.w.WriteHeader(&tar.Header{
		Typeflag: kind, Name: name, Linkname: h.Linkname, Size: size, Mode: h.Mode & 0o777, ModTime: h.ModTime,
		Uid: h.Uid, Gid: h.Gid, Format: tar.FormatPAX,
	})
}

func (s *archiveSink) directory(name string, h *tar.Header) error {
	return s.header(name+"/", h, tar.TypeDir, 0)
}

func (s *archiveSink) file(name string, h *tar.Header, content io.Reader) error {
	if err := s.header(name, h, tar.TypeReg, h.Size); err != nil {
		return err
	}
	_, err := io.Copy(s.w, content)
	return err
}

func (s *archiveSink) symlink(name string, h *tar.Header) error {
	return s.header(name, h, tar.TypeSymlink, 0)
}

func (s *archiveSink) hardlink(name, first string, h *tar.Header) error {
	second := *h
	second.Linkname = first
	return s.header(name, &second, tar.TypeLink, 0)
}

func (s *archiveSink) end() error { return nil }

// copySparse copies, and leaves out blocks of zeroes.
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
		case err == io.EOF: // and nothing that holds one: what is cut off has ended too soon
			return n, out.Truncate(n)
		case err != nil:
			return n, err
		}
	}
}
