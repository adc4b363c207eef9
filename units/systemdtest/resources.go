package systemdtest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// namePrefix begins the name of every cgroup and directory that this package makes on the host.
const namePrefix = "systemdtest-"

// Names inside the scratch directory.
const (
	notifyName  = "notify"
	bootLogName = "boot.log"
	diskName    = "disk"
)

// resources are what a machine has on the host besides its processes. The supervisor holds a lock
// (flock) on both directories, so that sweep can tell those in use from those that are left over.
type resources struct {
	name    string
	scratch string
	cgroup  string
	locks   []*os.File
	stage   *exec.Cmd
}

// disk is the part of the scratch directory that tests use.
func (r *resources) disk() string { return filepath.Join(r.scratch, diskName) }

// claim makes and locks a scratch directory and a cgroup with the same new name.
func claim() (*resources, error) {
	base, err := scratchBase()
	if err != nil {
		return nil, err
	}
	parent, err := cgroupParent()
	if err != nil {
		return nil, err
	}
	var nonce [6]byte
	_, _ = rand.Read(nonce[:]) // never fails
	r := &resources{name: namePrefix + hex.EncodeToString(nonce[:])}
	r.scratch, r.cgroup = filepath.Join(base, r.name), filepath.Join(parent, r.name)
	for _, dir := range []string{r.scratch, r.cgroup} {
		if err := r.makeLocked(dir); err != nil {
			return nil, errors.Join(err, r.release())
		}
	}
	for _, dir := range []string{
		r.disk(), filepath.Join(r.cgroup, entryGroup),
		filepath.Join(r.cgroup, machineGroup, commandsGroup),
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, errors.Join(err, r.release())
		}
	}
	return r, nil
}

// makeLocked makes a directory and locks it. Between the two steps a sweep may remove it as left over, so
// it is made again until the locked directory is the one with that name.
func (r *resources) makeLocked(dir string) error {
	for {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		lock, err := lockDir(dir)
		if err == nil && sameFile(lock, dir) {
			r.locks = append(r.locks, lock)
			return nil
		}
		if err == nil {
			_ = lock.Close()
		} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
	}
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// release kills the processes in the cgroup, and removes the cgroup and the scratch directory.
func (r *resources) release() error {
	if r.stage != nil {
		// With PID 1, the kernel kills its whole PID namespace.
		_ = r.stage.Process.Kill()
	}
	err := errors.Join(removeCgroup(r.cgroup), removeTree(r.scratch))
	for _, lock := range r.locks {
		_ = lock.Close()
	}
	return err
}

var ownName = regexp.MustCompile(`^` + namePrefix + `[0-9a-f]{12}$`)

// isOwnName says whether a directory has a name that claim gives.
func isOwnName(name string) bool { return ownName.MatchString(name) }

// sweep removes what killed supervisors left. It ignores errors: another sweep may remove the same at
// the same time, and other users' files cannot be removed.
func sweep() {
	var groups, dirs []string
	if parent, err := cgroupParent(); err == nil {
		groups, _ = filepath.Glob(filepath.Join(parent, namePrefix+"*"))
	}
	for _, base := range scratchBases() {
		found, _ := filepath.Glob(filepath.Join(base, namePrefix+"*"))
		dirs = append(dirs, found...)
	}
	for _, path := range append(groups, dirs...) {
		if !isOwnName(filepath.Base(path)) {
			continue
		}
		lock, err := lockDir(path)
		if err != nil {
			continue
		}
		if strings.HasPrefix(path, cgroupMount()) {
			_ = removeCgroup(path)
		} else {
			_ = removeTree(path)
		}
		_ = lock.Close()
	}
}
