package tarfilter

import (
	"archive/tar"
	"fmt"
	"io"
	"path"
)

// Archive is a sink that writes a new archive.
type Archive struct {
	w     *tar.Writer
	links map[string]bool // symbolic links; no entry may lie behind one
}

// NewArchive makes a sink of an archive. The caller closes the archive.
func NewArchive(w *tar.Writer) *Archive {
	return &Archive{w: w, links: map[string]bool{}}
}

func (s *Archive) header(name string, h *tar.Header, kind byte, size int64) error {
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

func (s *Archive) directory(name string, h *tar.Header) error {
	return s.header(name+"/", h, tar.TypeDir, 0)
}

func (s *Archive) file(name string, h *tar.Header, content io.Reader) error {
	if err := s.header(name, h, tar.TypeReg, h.Size); err != nil {
		return err
	}
	_, err := io.Copy(s.w, content)
	return err
}

func (s *Archive) symlink(name string, h *tar.Header) error {
	return s.header(name, h, tar.TypeSymlink, 0)
}

func (s *Archive) hardlink(name, first string, h *tar.Header) error {
	second := *h
	second.Linkname = first
	return s.header(name, &second, tar.TypeLink, 0)
}

func (s *Archive) end() error { return nil }
