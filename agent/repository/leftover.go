package repository

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// RemoveEmptyDir removes the directory of a backup if it is empty, and the VM's directory if that was the last one. A directory that
// is not empty stays.
func (r *Repository) RemoveEmptyDir(vm, backupID string) error {
	return r.fail(r.clear(vm, backupID, func(p *place) error {
		failpoint.Reach("remove: before an empty directory")
		err := p.vm.Remove(backupID)
		failpoint.Reach("remove: empty directory looked at")
		if err == nil || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return rooted.Located(p.vm, err)
	}))
}

// An Entry is a directory within the directory of a VM.
type Entry struct {
	VM, BackupID string // the names of the two directories
	Empty        bool
}

// Unpublished lists the directories without a manifest: of backups in progress, and of those that left something behind. It skips
// hidden ones.
func (r *Repository) Unpublished() (list []Entry, err error) {
	err = r.eachEntry(func(root *os.Root, e Entry) error {
		if strings.HasPrefix(e.BackupID, ".") {
			return nil
		}
		path := e.VM + "/" + e.BackupID
		if _, err := root.Lstat(path + "/" + manifest.FileName); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		inside, err := fs.ReadDir(root.FS(), path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		e.Empty = len(inside) == 0
		list = append(list, e)
		return nil
	})
	return list, err
}

// eachEntry calls f for each directory within the directory of a VM. It skips hidden VMs, and what is removed meanwhile.
func (r *tree) eachEntry(f func(root *os.Root, e Entry) error) error {
	return r.fail(r.within(func(dirs []*os.Root) error {
		root := dirs[0]
		vms, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return err
		}
		for _, vm := range vms {
			if !vm.IsDir() || strings.HasPrefix(vm.Name(), ".") {
				continue
			}
			inside, err := fs.ReadDir(root.FS(), vm.Name())
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, d := range inside {
				if !d.IsDir() {
					continue
				}
				if err := f(root, Entry{VM: vm.Name(), BackupID: d.Name()}); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}
