package dbfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
)

// Replace has create make a new file at the path that it gets, and replaces the file at path by it, which is damaged or
// missing. The old file is kept beside it under the returned name; "" if there was none. At every moment the path shows the old
// file or the new one, whole. It returns a *LockedError when another process has the old file open, and an error that is
// fs.ErrExist when there was none and another process was faster.
func Replace(path string, create func(fresh string) error) (aside string, err error) {
	aside, err = replaceWith(path, create)
	return aside, classified(path, err)
}

// replaceWith is Replace. The lock keeps others from writing the old file meanwhile.
func replaceWith(path string, create func(fresh string) error) (aside string, err error) {
	old, err := lockOld(path)
	if err != nil {
		return "", err
	}
	defer unlock(old)
	directory := filepath.Dir(path)
	beside, err := os.MkdirTemp(directory, filepath.Base(path)+besidePattern)
	if err != nil {
		return "", fmt.Errorf("database %s: %w", path, err)
	}
	defer os.RemoveAll(beside)
	fresh := filepath.Join(beside, filepath.Base(path))
	if err := create(fresh); err != nil {
		return "", err
	}
	failpoint.Reach("replace: filled beside")
	if old == nil {
		err := os.Link(fresh, path)
		failpoint.Reach("replace: linked, not synced")
		return "", errors.Join(err, syncDirectory(directory))
	}
	if aside, err = setAside(path, time.Now()); err != nil {
		return "", fmt.Errorf("database %s: setting it aside: %w", path, err)
	}
	failpoint.Reach("replace: old one set aside")
	err = os.Rename(fresh, path)
	failpoint.Reach("replace: renamed, not synced")
	return aside, errors.Join(err, syncDirectory(beside), syncDirectory(directory)) // a move between two directories is on the disk once both are
}

// lockOld locks the file to be replaced, if there is one. A running daemon has it open.
func lockOld(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &LockedError{Path: path, Holders: lockHolders(path)}
	}
	return nil, fmt.Errorf("database %s: lock: %w", path, err)
}

// asideInfix is between the name of a file and the time at which it was set aside.
const asideInfix = ".damaged-"

// setAside gives the file at path a second name, and syncs that to the disk.
func setAside(path string, now time.Time) (aside string, err error) {
	stamp := path + asideInfix + now.UTC().Format("20060102T150405Z")
	aside = stamp
	for n := 2; ; n++ {
		err = os.Link(path, aside)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		aside = stamp + "-" + strconv.Itoa(n)
	}
	if err != nil {
		return "", err
	}
	failpoint.Reach("replace: second name given, not synced")
	return aside, syncDirectory(filepath.Dir(path))
}
