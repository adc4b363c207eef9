package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
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
		if err := checkMounts(p.dir); err != nil {
			return err // while it is still a restore point
		}
		if err := r.owner.unpublish(p.dir, point); err != nil {
			return err
		}
		failpoint.Reach("remove: unpublished")
		if err := removeTree(p.vm, backupID); err != nil {
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
	if err := makeWritable(dir); err != nil || !published {
		return err
	}
	failpoint.Reach("remove: before the manifest")
	if err := dir.RemoveAll(manifest.FileName); err != nil {
		return located(dir, err)
	}
	failpoint.Reach("remove: manifest removed, not synced")
	return syncDir(dir)
}

// published says whether there is a manifest that the agent may have written, readable or not.
func (o *Owner) published(dir *os.Root) (bool, error) {
	info, err := dir.Lstat(manifest.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !o.forged(info), located(dir, err)
}

func makeWritable(dir *os.Root) error {
	return self(dir, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil || info.Mode().Perm()&0o700 == 0o700 {
			return err
		}
		return f.Chmod(info.Mode().Perm() | 0o700)
	})
}

// removeEmpty removes the directory of a VM if it is empty, and syncs what was removed from it: the caller reports the removal, and after
// a power failure nobody would look for it again.
func (r *tree) removeEmpty(root *os.Root, vm string) error {
	r.dirs.Lock()
	defer r.dirs.Unlock()
	dir, err := enter(root, vm)
	if errors.Is(err, fs.ErrNotExist) {
		return syncDir(root)
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
		return syncDir(root)
	case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist):
		return syncDir(dir)
	}
	return located(root, err)
}

// removeTree removes a directory right below parent with all its contents. It removes symbolic links as links. If something is mounted
// in it, it removes nothing: that is not part of the repository.
func removeTree(parent *os.Root, name string) error {
	dir, err := enter(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = checkMounts(dir)
	_ = dir.Close()
	if err != nil {
		return err
	}
	return located(parent, parent.RemoveAll(name))
}

// checkMounts returns an error if something is mounted on a directory or below it. A bind mount is on the same device as what it hides,
// so only the kernel can tell.
func checkMounts(dir *os.Root) error {
	return fs.WalkDir(dir.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return located(dir, err)
		}
		within, name := dir, path
		if at := strings.LastIndexByte(path, '/'); at >= 0 {
			if within, err = dir.OpenRoot(path[:at]); err != nil {
				return located(dir, err)
			}
			defer within.Close()
			name = path[at+1:]
		}
		var st unix.Statx_t
		err = self(within, func(f *os.File) error {
			return unix.Statx(int(f.Fd()), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
		})
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			err = fmt.Errorf("%s: something is mounted there, so nothing is removed: unmount it", filepath.Join(dir.Name(), path))
		}
		return err
	})
}
