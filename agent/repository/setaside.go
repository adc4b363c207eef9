package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// failedDir holds what failed backups left. Its dot keeps it out of the catalog, and no VM has such a name.
const failedDir = ".failed"

// SetAside keeps the directory of a failed backup for a person: it moves it to .failed/<vm>/<backup id> of the repository, where only the
// agent's user can read it, and returns that path, also if it was moved before a crash. The path is empty if there is nothing to keep.
// A restore point is not moved: ErrRestorePoint.
func (r *Repository) SetAside(vm, backupID string) (path string, err error) {
	path, err = r.setAside(vm, backupID)
	return path, r.fail(err)
}

func (r *tree) setAside(vm, backupID string) (string, error) {
	if err := checkNames(vm, backupID); err != nil {
		return "", err
	}
	root, err := r.open()
	if err != nil {
		return "", err
	}
	defer root.Close()
	name := filepath.Join(failedDir, vm, backupID)
	p, err := r.enter(root, vm, backupID)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := root.Lstat(name); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", r.removeEmpty(root, vm)
			}
			return "", rooted.Located(root, err)
		}
		return filepath.Join(r.Path, name), r.removeEmpty(root, vm)
	}
	if err != nil {
		return "", err
	}
	defer p.close()
	if err := r.moveAside(p, vm, backupID); err != nil {
		return "", err
	}
	return filepath.Join(r.Path, name), r.removeEmpty(root, vm)
}

// RemoveAside removes what SetAside has kept of a backup. A missing directory is no error.
func (r *Repository) RemoveAside(vm, backupID string) error {
	return r.fail(r.removeAside(vm, backupID))
}

func (r *tree) removeAside(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return err
	}
	return r.ifThere(func(dirs []*os.Root) error {
		failpoint.Reach("remove: before what was set aside")
		if err := rooted.RemoveTree(dirs[2], backupID); err != nil {
			return err
		}
		failpoint.Reach("remove: what was set aside is removed")
		return r.removeEmpty(dirs[1], vm)
	}, failedDir, vm)
}

func (r *tree) moveAside(p *place, vm, backupID string) error {
	if err := r.owner.unpublish(p.dir, false); err != nil {
		return err
	}
	failpoint.Reach("set aside: before its place")
	failed, err := makeDir(p.root, failedDir, 0o700)
	if err != nil {
		return err
	}
	defer failed.Close()
	kept, err := makeDir(failed, vm, 0o700)
	if err != nil {
		return err
	}
	defer kept.Close()
	// The directories above are synced first: otherwise a power failure could lose the name of what is moved.
	if err := errors.Join(rooted.Sync(failed), rooted.Sync(p.root)); err != nil {
		return err
	}
	failpoint.Reach("set aside: place made")
	// A rename would silently replace an empty directory.
	if _, err := kept.Lstat(backupID); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s/%s exists already: move it away", kept.Name(), backupID), rooted.Located(kept, err))
	}
	if err := p.root.Rename(filepath.Join(vm, backupID), filepath.Join(failedDir, vm, backupID)); err != nil {
		return rooted.Located(p.root, err)
	}
	failpoint.Reach("set aside: moved")
	err = errors.Join(rooted.Sync(kept), rooted.Sync(p.vm))
	failpoint.Reach("set aside: synced")
	return err
}
