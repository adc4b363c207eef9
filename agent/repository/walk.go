package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// A place is the directory of one backup, with the directories above it.
type place struct {
	root, vm, dir *os.Root
}

// enter opens the directory of a backup. The error is fs.ErrNotExist if it is missing, and ErrMidMerge if it has another name because
// the commit of a merge is not completed.
func (r *tree) enter(root *os.Root, vm, backupID string) (*place, error) {
	if err := checkNames(vm, backupID); err != nil {
		return nil, err
	}
	dirs, err := rooted.Descend(root, vm, backupID)
	if errors.Is(err, fs.ErrNotExist) {
		if mid := checkMidMerge(root, vm, backupID); mid != nil {
			return nil, mid
		}
		dirs, err = rooted.Descend(root, vm, backupID) // a commit may have been completed meanwhile
	}
	if err != nil {
		return nil, err
	}
	return &place{root: root, vm: dirs[0], dir: dirs[1]}, nil
}

// checkMidMerge returns ErrMidMerge if the commit of a merge is not completed.
func checkMidMerge(root *os.Root, vm, backupID string) error {
	dir, err := rooted.Enter(root, vm)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	mid, err := midMerge(dir, backupID)
	if mid {
		err = fmt.Errorf("%s: %w", filepath.Join(dir.Name(), backupID), ErrMidMerge)
	}
	return err
}

// within calls f with the repository and the named directories, one below the other.
func (r *tree) within(f func(dirs []*os.Root) error, names ...string) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dirs, err := rooted.Descend(root, names...)
	if err != nil {
		return err
	}
	defer rooted.CloseAll(dirs)
	return f(append([]*os.Root{root}, dirs...))
}

// ifThere is within, but does nothing if one of the named directories is missing. A missing repository is an error, because it looks
// like one in which nothing is left.
func (r *tree) ifThere(f func(dirs []*os.Root) error, names ...string) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dirs, err := rooted.Descend(root, names...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer rooted.CloseAll(dirs)
	return f(append([]*os.Root{root}, dirs...))
}

// at calls f with the directory of a backup.
func (r *tree) at(vm, backupID string, f func(p *place) error) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if err != nil {
		return err
	}
	defer p.close()
	return f(p)
}

// Exists says whether a backup has a directory here, also while the commit of its merge is not completed. A missing repository is an
// error.
func (r *Repository) Exists(vm, backupID string) (bool, error) {
	root, err := r.open()
	if err != nil {
		return false, r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, ErrMidMerge):
		return true, nil
	case err != nil:
		return false, r.fail(err)
	}
	p.close()
	return true, nil
}

func (p *place) close() {
	_ = p.dir.Close()
	_ = p.vm.Close()
}

// ownerOf is the owner of a file.
func ownerOf(info fs.FileInfo) int { return int(statOf(info).Uid) }

func statOf(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// allocated is how many bytes a file takes on the disk. stat counts in units of 512 on every file system.
func allocated(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }
