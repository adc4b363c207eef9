package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
)

// chooseParent finds the restore point that a backup stands on, and proves it fit. It returns the type that the backup
// will have: a full one has no parent, and auto becomes either.
func (a *Agent) chooseParent(ctx context.Context, vm backup.VM, repo *repository.Repository, want backup.Type) (backup.Type, *backup.Backup, error) {
	if want == backup.Full {
		return backup.Full, nil, nil
	}
	newest, found, err := a.store.LatestCompleted(vm.Name, repo.ID)
	if err != nil {
		return "", nil, AsError(err)
	}
	err = nil
	switch {
	case !found:
		e := errorf(NoParent, "vm %q has no restore point in repository %s", vm.Name, repo.ID)
		e.Hint = "make a full backup first, or ask for the type auto"
		err = e
	case !shareDisk(vm, newest):
		e := errorf(NoParent, "vm %q has no disk in common with its newest restore point %s", vm.Name, newest.ID)
		e.Hint = "make a full backup, or ask for the type auto"
		err = e
	default:
		if bad := a.verifyChain(ctx, repo, newest); bad != nil {
			e := errorf(NoParent, "vm %q: its newest restore point %s cannot be built upon: %w", vm.Name, newest.ID, bad)
			e.Hint = "make a full backup: an incremental would inherit the damage"
			err = e
		}
	}
	if err == nil {
		return backup.Incremental, &newest, nil
	}
	if want == backup.Incremental {
		return "", nil, err
	}
	if found {
		a.log.Warn("a full backup is made where an incremental was possible before", logVM, vm.Name, logError, err)
	}
	return backup.Full, nil, nil
}

// shareDisk says whether any disk of the VM is in the restore point with a change id: without one there is nothing from
// which changes could be copied.
func shareDisk(vm backup.VM, point backup.Backup) bool {
	for _, d := range vm.Disks {
		if from := ofKey(&point, d.Key()); from != nil && from.ChangeID != "" && from.CapacityBytes <= d.CapacityBytes {
			return true
		}
	}
	return false
}

// maxChain bounds how many restore points may stand on one another; each is one more file that QEMU opens.
const maxChain = 500

// chain lists a restore point and all it stands on, the newest first.
func (a *Agent) chain(point backup.Backup) ([]backup.Backup, error) {
	list := []backup.Backup{point}
	for point.Parent != "" {
		if len(list) == maxChain {
			return nil, fmt.Errorf("more than %d restore points stand on one another: make a full backup", maxChain)
		}
		parent, err := a.store.Backup(point.Parent)
		if err != nil {
			return nil, fmt.Errorf("restore point %s: its parent %s is not on record", point.ID, point.Parent)
		}
		list, point = append(list, parent), parent
	}
	return list, nil
}

// ancestorDirs are the directories of all that an incremental stands on, which its exporters must be able to read.
func (a *Agent) ancestorDirs(b backup.Backup) ([]string, error) {
	if b.Parent == "" {
		return nil, nil
	}
	points, err := a.chain(b)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, 0, len(points))
	for _, p := range points[1:] {
		dirs = append(dirs, p.Directory)
	}
	return dirs, nil
}

// verifyChain proves that a restore point and all it stands on are what their manifests say. Every image is looked at
// before QEMU follows a backing file, for an image can name any file as its backing: what it names must be what was made.
func (a *Agent) verifyChain(ctx context.Context, repo *repository.Repository, point backup.Backup) error {
	points, err := a.chain(point)
	if err != nil {
		return err
	}
	for i, p := range points {
		m, err := repo.Manifest(nbd.DirName(p.VM.Name), p.ID)
		if err != nil {
			return err
		}
		for _, d := range m.Disks {
			if err := a.verifyImage(ctx, p, d, i == 0); err != nil {
				return fmt.Errorf("disk %d of %s: %w", d.DiskID, p.ID, err)
			}
		}
	}
	return nil
}

// verifyImage compares an image with its manifest and, when deep, checks its metadata.
func (a *Agent) verifyImage(ctx context.Context, p backup.Backup, d repository.ManifestDisk, deep bool) error {
	path := filepath.Join(p.Directory, d.File)
	info, err := a.tools.Info(ctx, path)
	if err != nil {
		return err
	}
	switch {
	case info.VirtualBytes != d.CapacityBytes:
		return fmt.Errorf("image %s has %d bytes, its manifest says %d", path, info.VirtualBytes, d.CapacityBytes)
	case info.BackingFile != d.Backing:
		return fmt.Errorf("image %s stands on %q, its manifest says %q", path, info.BackingFile, d.Backing)
	case info.Corrupt || info.Dirty:
		return fmt.Errorf("image %s is marked as damaged", path)
	}
	if !deep {
		return nil
	}
	_, err = a.tools.Check(ctx, path)
	return err
}

// standOn fills in what the image of a disk stands on in an incremental.
func standOn(d *backup.DiskRun, parent *backup.Backup) {
	from := ofKey(parent, d.Key)
	switch {
	case from == nil:
		d.Change = backup.Added
		return
	case from.CapacityBytes > d.CapacityBytes:
		d.Change = backup.Replaced
		return
	case from.CapacityBytes < d.CapacityBytes:
		d.Change = backup.Grown
	default:
		d.Change = backup.Same
	}
	d.Content = backup.Changes
	d.Backing = filepath.Join("..", parent.ID, filepath.Base(from.Image))
	d.ParentChangeID = from.ChangeID
}

// removedDisks lists the disks of the parent that the VM has no more.
func removedDisks(vm backup.VM, parent *backup.Backup) []int {
	var gone []int
	for _, from := range parent.Runs {
		if !hasKey(vm, from.Key) {
			gone = append(gone, from.DiskID)
		}
	}
	return gone
}

func hasKey(vm backup.VM, key int) bool {
	for _, d := range vm.Disks {
		if d.Key() == key {
			return true
		}
	}
	return false
}

// ofKey finds the run of a disk by its key, by which VMware knows a disk for as long as it is attached.
func ofKey(b *backup.Backup, key int) *backup.DiskRun {
	for i := range b.Runs {
		if b.Runs[i].Key == key {
			return &b.Runs[i]
		}
	}
	return nil
}
