package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// ErrRestorePoint refuses to remove a restore point as if it were the rest of a failed backup.
var ErrRestorePoint = errors.New("has a manifest, so it is a restore point")

// RemoveDir removes the directory of a backup that is not a restore point, with all its contents, and the VM's directory if that was the
// last one. A missing directory is no error. A directory with a manifest stays: ErrRestorePoint.
func (r *Repository) RemoveDir(vm, backupID string) error {
	return r.fail(r.remove(vm, backupID, false))
}

// RemovePoint is RemoveDir, also for a restore point, and for what a merge has left beside it. It removes the manifest first, so that a
// half removed one is no restore point any more; call it again to remove the rest. The caller must know that the restore point has no
// children.
func (r *Repository) RemovePoint(vm, backupID string) error {
	err := r.removeMerge(vm, backupID)
	if err == nil {
		err = r.remove(vm, backupID, true)
	}
	return r.fail(err)
}

func (r *tree) remove(vm, backupID string, point bool) error {
	return r.clear(vm, backupID, func(p *place) error {
		if err := rooted.CheckMounts(p.dir); err != nil {
			return err // while it is still a restore point
		}
		if err := r.owner.unpublish(p.dir, point); err != nil {
			return err
		}
		failpoint.Reach("remove: unpublished")
		if err := rooted.RemoveTree(p.vm, backupID); err != nil {
			return err
		}
		failpoint.Reach("remove: directory removed")
		return nil
	})
}

// clear calls f to remove the directory of a backup, if it exists, and removes the VM's directory if that was the last one.
func (r *tree) clear(vm, backupID string, f func(p *place) error) error {
	if err := checkNames(vm, backupID); err != nil {
		return err
	}
	root, err := r.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if errors.Is(err, fs.ErrNotExist) {
		return r.removeEmpty(root, vm)
	}
	if err != nil {
		return err
	}
	defer p.close()
	if err := f(p); err != nil {
		return err
	}
	return r.removeEmpty(root, vm)
}

// unpublish prepares a directory for removal: it removes the manifest durably, or refuses to.
func (o *Owner) unpublish(dir *os.Root, allowed bool) error {
	published, err := o.published(dir)
	switch {
	case err != nil:
		return err
	case published && !allowed:
		return fmt.Errorf("%s: %w", dir.Name(), ErrRestorePoint)
	}
	// An agent that is not root cannot empty a read-only directory.
	if err := rooted.MakeWritable(dir); err != nil || !published {
		return err
	}
	failpoint.Reach("remove: before the manifest")
	if err := dir.RemoveAll(manifest.FileName); err != nil {
		return rooted.Located(dir, err)
	}
	failpoint.Reach("remove: manifest removed, not synced")
	return rooted.Sync(dir)
}

// published says whether there is a manifest that the agent may have written, readable or not.
func (o *Owner) published(dir *os.Root) (bool, error) {
	info, err := dir.Lstat(manifest.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !o.forged(info), rooted.Located(dir, err)
}

// removeEmpty removes the directory of a VM if it is empty, and syncs what was removed from it: the caller reports the removal, and after
// a power failure nobody would look for it again.
func (r *tree) removeEmpty(root *os.Root, vm string) error {
	r.dirs.Lock()
	defer r.dirs.Unlock()
	dir, err := rooted.Enter(root, vm)
	if errors.Is(err, fs.ErrNotExist) {
		return rooted.Sync(root)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	failpoint.Reach("remove: before the directory of the vm")
	err = root.Remove(vm)
	failpoint.Reach("remove: directory of the vm looked at")
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return rooted.Sync(root)
	case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist):
		return rooted.Sync(dir)
	}
	return rooted.Located(root, err)
}
