package repository

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// scratchDir holds the overlays that writable restores write to. Its dot keeps it out of the catalog, and no VM has such a name.
const scratchDir = ".restore"

// ScratchDir is the absolute path of the directory that holds the overlays of a restore, in the repository at a path.
func ScratchDir(path, restoreID string) string {
	return filepath.Join(path, scratchDir, restoreID)
}

// MakeScratch makes the directory of a restore, which must not exist yet, and gives it to the exporters' user.
func (r *Repository) MakeScratch(restoreID string) error {
	if err := checkNames(restoreID, restoreID); err != nil {
		return r.fail(err)
	}
	return r.fail(r.makeWithin(scratchDir, restoreID))
}

// RemoveScratch removes it with all its contents. A missing directory is no error.
func (r *Repository) RemoveScratch(restoreID string) error {
	return r.fail(r.removeScratch(restoreID))
}

func (r *tree) removeScratch(restoreID string) error {
	if err := checkNames(restoreID, restoreID); err != nil {
		return err
	}
	return r.ifThere(func(dirs []*os.Root) error {
		if err := rooted.RemoveTree(dirs[1], restoreID); err != nil {
			return err
		}
		failpoint.Reach("scratch: removed")
		return r.removeEmpty(dirs[0], scratchDir)
	}, scratchDir)
}

// CloseScratch removes the directory of all overlays if it is empty: there may have been a crash after the removal of the last overlay.
func (r *Repository) CloseScratch() error {
	return r.fail(r.within(func(dirs []*os.Root) error { return r.removeEmpty(dirs[0], scratchDir) }))
}

// Scratch lists the restores that have a directory for overlays here.
func (r *Repository) Scratch() ([]string, error) {
	root, err := r.open()
	if err != nil {
		return nil, r.fail(err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), scratchDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, r.fail(rooted.Located(root, err))
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && manifest.PlainName(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
