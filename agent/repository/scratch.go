package repository

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// scratchDir holds the overlays that writable restores write to. Its dot keeps it out of the catalog and apart from every
// VM.
const scratchDir = ".restore"

// ScratchDir is the absolute path of the directory that holds the overlays of a restore.
func (r *Repository) ScratchDir(restoreID string) string {
	return filepath.Join(r.Path, scratchDir, restoreID)
}

// MakeScratch makes that directory, which must not exist yet, and gives it to the exporters' user.
func (r *Repository) MakeScratch(restoreID string) error {
	if err := checkNames(restoreID, restoreID); err != nil {
		return r.fail(err)
	}
	return r.fail(r.makeWithin(scratchDir, restoreID))
}

// RemoveScratch removes it with all it holds. What is not there is fine.
func (r *Repository) RemoveScratch(restoreID string) error {
	return r.fail(r.removeScratch(restoreID))
}

func (r *Repository) removeScratch(restoreID string) error {
	if err := checkNames(restoreID, restoreID); err != nil {
		return err
	}
	root, err := r.open()
	if err != nil {
		return err // a repository that is away looks like one in which nothing is left
	}
	defer root.Close()
	scratch, err := enter(root, scratchDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer scratch.Close()
	if err := removeTree(scratch, restoreID); err != nil {
		return err
	}
	failpoint.Reach("scratch: removed")
	return r.removeEmpty(root, scratchDir)
}

// CloseScratch removes the directory of all overlays, if there are none: a crash may have come between the removal of the last
// and that of its directory.
func (r *Repository) CloseScratch() error {
	root, err := r.open()
	if err != nil {
		return r.fail(err)
	}
	defer root.Close()
	return r.fail(r.removeEmpty(root, scratchDir))
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
		return nil, r.fail(located(root, err))
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && manifest.PlainName(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
