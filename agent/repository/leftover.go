package repository

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// RemoveEmptyDir removes the directory of a backup if there is nothing in it, and the VM's directory when that was the last
// one. Anything else stays.
func (r *Repository) RemoveEmptyDir(vm, backupID string) error {
	return r.fail(r.clear(vm, backupID, func(p *place) error {
		failpoint.Reach("remove: before an empty directory")
		err := p.vm.Remove(backupID)
		failpoint.Reach("remove: empty directory looked at")
		if err == nil || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return located(p.vm, err)
	}))
}

// Unpublished is a directory that stands where a backup's would, without a manifest.
type Entry struct {
	VM, BackupID string // the names of the two directories
	Empty        bool
}

// Unpublished lists the directories without a manifest: of backups that are under way, and what was left of others.
// Hidden ones are passed over.
func (r *Repository) Unpublished() ([]Entry, error) {
	root, err := r.open()
	if err != nil {
		return nil, r.fail(err)
	}
	defer root.Close()
	found, err := twoDeep(root)
	if err != nil {
		return nil, r.fail(err)
	}
	var list []Entry
	for _, d := range found {
		if strings.HasPrefix(d.BackupID, ".") {
			continue
		}
		path := d.VM + "/" + d.BackupID
		if _, err := root.Lstat(path + "/" + manifest.FileName); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		inside, err := fs.ReadDir(root.FS(), path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return list, r.fail(err)
		}
		d.Empty = len(inside) == 0
		list = append(list, d)
	}
	return list, nil
}

// twoDeep lists the directories that lie in those of VMs, by the names of both. Hidden VMs are passed over; what goes meanwhile, too.
func twoDeep(root *os.Root) (list []Entry, err error) {
	vms, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, vm := range vms {
		if !vm.IsDir() || strings.HasPrefix(vm.Name(), ".") {
			continue
		}
		inside, err := fs.ReadDir(root.FS(), vm.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, d := range inside {
			if d.IsDir() {
				list = append(list, Entry{VM: vm.Name(), BackupID: d.Name()})
			}
		}
	}
	return list, nil
}
