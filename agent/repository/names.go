package repository

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// ErrEmpty says that a repository is completely empty, as a mount point is on which nothing is mounted.
var ErrEmpty = errors.New("is empty: is it mounted?")

// Empty reports whether the repository is completely empty.
func (r *Repository) Empty() (bool, error) {
	root, err := r.open()
	if err != nil {
		return false, r.fail(err)
	}
	defer root.Close()
	empty := true
	err = rooted.Self(root, func(dir *os.File) error {
		names, err := dir.Readdirnames(1)
		empty = len(names) == 0
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return empty, r.fail(err)
}

// VMs lists the directories that may belong to VMs, sorted. It reads one directory.
func (r *Repository) VMs() ([]string, error) {
	root, err := r.open()
	if err != nil {
		return nil, r.fail(err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("%s %w", r.Path, ErrEmpty)
	}
	return plainDirectories(entries), r.fail(rooted.Located(root, err))
}

// Names lists the directories of a VM that may be restore points, or become one, sorted. It reads one directory, and nothing in it. A
// VM without a directory has none.
func (r *Repository) Names(vm string) (names []string, err error) {
	err = r.ifThere(func(dirs []*os.Root) error {
		entries, err := fs.ReadDir(dirs[1].FS(), ".")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		names = plainDirectories(entries)
		return rooted.Located(dirs[1], err)
	}, vm)
	return names, r.fail(err)
}

// OnlyFiles reports whether a directory of the repository holds files and no directory, not even a hidden one. No VM has such a directory.
func (r *Repository) OnlyFiles(vm string) (only bool, err error) {
	err = r.ifThere(func(dirs []*os.Root) error {
		entries, err := fs.ReadDir(dirs[1].FS(), ".")
		only = len(entries) > 0 && !slices.ContainsFunc(entries, os.DirEntry.IsDir)
		return rooted.Located(dirs[1], err)
	}, vm)
	return only, r.fail(err)
}

func plainDirectories(entries []os.DirEntry) []string {
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && manifest.PlainName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}
