package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/failpoint"
)

// failedDir holds what failed backups left. Its dot keeps it out of the catalog and apart from every VM.
const failedDir = ".failed"

// SetAside keeps the directory of a failed backup for a person to look at: it becomes .failed/<vm>/<backup id> of the
// repository, where only the agent's user can reach it, and the path of that is returned. Where a crash had it set aside
// already, that path is returned too; where there is nothing to set aside, the path is empty. A restore point stays
// where it is: ErrRestorePoint.
func (r *Repository) SetAside(vm, backupID string) (path string, err error) {
	path, err = r.setAside(vm, backupID)
	return path, r.fail(err)
}

func (r *Repository) setAside(vm, backupID string) (string, error) {
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
			return "", located(root, err)
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

// RemoveAside removes what SetAside has kept of a backup. What is not there is fine.
func (r *Repository) RemoveAside(vm, backupID string) error {
	return r.fail(r.removeAside(vm, backupID))
}

func (r *Repository) removeAside(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return err
	}
	return r.ifThere(func(dirs []*os.Root) error {
		failpoint.Reach("remove: before what was set aside")
		if err := removeTree(dirs[2], backupID); err != nil {
			return err
		}
		failpoint.Reach("remove: what was set aside is removed")
		return r.removeEmpty(dirs[1], vm)
	}, failedDir, vm)
}

func (r *Repository) moveAside(p *place, vm, backupID string) error {
	if err := r.unpublish(p.dir, false); err != nil {
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
	// What leads there is on the disk before anything is there: a loss of power would leave it without a name.
	if err := errors.Join(syncDir(failed), syncDir(p.root)); err != nil {
		return err
	}
	failpoint.Reach("set aside: place made")
	// A rename would replace an empty directory in silence.
	if _, err := kept.Lstat(backupID); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s/%s is there already: move it away", kept.Name(), backupID), located(kept, err))
	}
	if err := p.root.Rename(filepath.Join(vm, backupID), filepath.Join(failedDir, vm, backupID)); err != nil {
		return located(p.root, err)
	}
	failpoint.Reach("set aside: moved")
	err = errors.Join(syncDir(kept), syncDir(p.vm))
	failpoint.Reach("set aside: synced")
	return err
}
