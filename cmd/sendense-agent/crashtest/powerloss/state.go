package powerloss

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A State is one of the things that a disk may hold when the power is back.
type State struct {
	roots []Root
	names map[int]map[string]int
	files map[int]*File
}

// A File is a file or directory of a state.
type File struct {
	Attrs
	inode   int
	key     string
	content func() []byte
}

// Key names what a file holds: two of the same log that have the same key hold the same.
func (f *File) Key() string { return f.key }

// Content is what a file holds.
func (f *File) Content() []byte { return f.content() }

// Files are all files and directories that have a name, by their absolute paths; the tops of the file systems are left out.
func (s State) Files() map[string]*File {
	found := map[string]*File{}
	for _, r := range s.roots {
		s.walk(r.Inode, r.Path, found)
	}
	return found
}

func (s State) walk(dir int, path string, found map[string]*File) {
	for name, id := range s.names[dir] {
		f := s.files[id]
		found[filepath.Join(path, name)] = f
		if f.Dir {
			s.walk(id, filepath.Join(path, name), found)
		}
	}
}

// Fingerprint is the same for states that hold the same.
func (s State) Fingerprint() string {
	var b strings.Builder
	files := s.Files()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		fmt.Fprintf(&b, "%s %v %s\n", path, f.Attrs, f.key)
	}
	return b.String()
}

// Write makes the state real, below the paths where its file systems were mounted. What is there goes first. Data is what
// each file gets; nil for what it holds.
func (s State) Write(data func(path string, f *File) []byte) error {
	if data == nil {
		data = func(_ string, f *File) []byte { return f.Content() }
	}
	for _, r := range s.roots {
		entries, err := os.ReadDir(r.Path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(r.Path, e.Name())); err != nil {
				return err
			}
		}
	}
	files := s.Files()
	for _, path := range slices.Sorted(maps.Keys(files)) { // a directory before what is in it
		if err := files[path].write(path, data); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) write(path string, data func(string, *File) []byte) error {
	var err error
	if f.Dir {
		err = os.Mkdir(path, 0o700)
	} else {
		err = os.WriteFile(path, data(path, f), 0o600)
	}
	return errors.Join(err, os.Chown(path, int(f.UID), int(f.GID)), os.Chmod(path, os.FileMode(f.Mode&0o777)))
}
