package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// ErrEmpty says that there is nothing at all in a repository: a mount point looks so on which nothing is mounted.
var ErrEmpty = errors.New("is empty: is it mounted?")

// VMs lists the directories that may be of VMs, sorted. It reads one directory.
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
	return plainDirectories(entries), r.fail(located(root, err))
}

// Names lists what lies in the directory of a VM and may be a restore point, or become one, sorted. It reads one directory and looks
// at nothing in it. A VM without a directory has none.
func (r *Repository) Names(vm string) ([]string, error) {
	root, err := r.open()
	if err != nil {
		return nil, r.fail(err)
	}
	defer root.Close()
	dir, err := enter(root, vm)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, r.fail(err)
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it went meanwhile
	}
	return plainDirectories(entries), r.fail(located(dir, err))
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
