// Package repository keeps the images of backups in directories.
//
// # Layout
//
//	<repository>/<vm>/<backup id>/<export>.qcow2
//	<repository>/<vm>/<backup id>/manifest.json
//	<repository>/<vm>/.merge-<backup id>/         a merge: what will replace the restore point of that id, or what it was before
//	<repository>/<vm>/.old-<backup id>/           the same restore point before the merge, where directories cannot be exchanged
//	<repository>/.failed/<vm>/<backup id>/        what a failed backup left, if it is kept
//	<repository>/.restore/<restore id>/           what clients write to a writable restore, until it ends
//
// <vm> and <export> are the safe names of package nbd; the VM's true name is in record and manifest. The directory of a VM belongs to
// the agent, and everybody may pass through it (0711). The directory of a backup belongs to the exporters' user alone (0700) until
// it becomes a restore point: then it belongs to the agent, and the exporters' group may read it (0750, images 0440), because the
// next overlay is based on it.
//
// Every path is entered below an os.Root, one name at a time. No symbolic link is followed, not even one that stays within the
// repository: it would show the images of one VM under the name of another.
//
// What a manifest holds is package manifest's, and whether two directories are one is package overlap's. This package knows nothing
// of records, units or exports, and reads no image but for its digest.
package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
	"github.com/sendense/backup-agent/nbd/iomode"
)

// Owner is the user and group of the exporters, to whom the directories of backups are given. A nil Owner is the agent itself. Its
// methods change or examine what belongs to that user in an open directory.
type Owner struct{ UID, GID int }

// A Repository is one configured directory with backups. It may be unreachable at times, as a network file system is; every method
// checks that again. Its methods are safe for concurrent use.
type Repository struct {
	tree

	mu  sync.Mutex
	io  *iomode.Mode // detected once it worked
	why string       // no better mode works here; "" for the best
}

// A tree is the directory of a repository: how it is entered, and how directories in it are made and removed.
type tree struct {
	ID    string
	Path  string // absolute
	owner *Owner
	guard Guard // nil: it is alone

	dirs sync.Mutex // held while the directory of a VM is made or removed
}

// New describes a repository; it does not touch the disk. With a nil owner, new directories belong to the agent's user.
func New(id, path string, owner *Owner) *Repository {
	return &Repository{tree: tree{ID: id, Path: filepath.Clean(path), owner: owner}}
}

// Dir is the absolute path of a backup's directory.
func (r *Repository) Dir(vm, backupID string) string { return filepath.Join(r.Path, vm, backupID) }

// MakeDir makes the directory of a backup, which must not exist yet. When it returns, the directory survives a power failure: if it is
// missing later, the repository is away, and the agent waits for it.
func (r *Repository) MakeDir(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return r.fail(err)
	}
	return r.fail(r.makeWithin(vm, backupID))
}

// makeWithin makes a directory for the exporters' user below one of the agent's own, which it makes if it is missing.
func (r *tree) makeWithin(above, name string) error {
	r.dirs.Lock()
	defer r.dirs.Unlock()
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	failpoint.Reach("mkdir: before the directory of the vm")
	parent, err := makeDir(root, above, 0o711)
	if err != nil {
		return err
	}
	defer parent.Close()
	failpoint.Reach("mkdir: directory of the vm made")
	if err := parent.Mkdir(name, 0o700); err != nil {
		return rooted.Located(parent, err)
	}
	failpoint.Reach("mkdir: directory of the backup made")
	if err := r.owner.give(parent, name); err != nil {
		return err
	}
	return errors.Join(rooted.Sync(parent), rooted.Sync(root))
}

// give gives a directory to the exporters' user.
func (o *Owner) give(parent *os.Root, name string) error {
	if o == nil {
		return nil
	}
	dir, err := rooted.Enter(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = rooted.Chown(dir, o.UID, o.GID)
	failpoint.Reach("mkdir: given to the exporters' user")
	return err
}

// makeDir opens a directory of the agent right below root, and makes it if it is missing.
func makeDir(root *os.Root, name string, mode fs.FileMode) (*os.Root, error) {
	if err := root.Mkdir(name, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, rooted.Located(root, err)
	}
	failpoint.Reach("mkdir: made, without its mode")
	dir, err := rooted.Enter(root, name)
	if err != nil {
		return nil, err
	}
	// A umask may have reduced the mode, and the exporters' user must be able to pass through.
	if err := rooted.Chmod(dir, mode); err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// open opens the repository. Its own path may hold symbolic links: it is the administrator's. A repository whose directory is
// another one's is not opened.
func (r *tree) open() (*os.Root, error) {
	root, err := os.OpenRoot(r.Path)
	if err != nil {
		return nil, err
	}
	if err := r.checkApart(root); err != nil {
		_ = root.Close()
		return nil, err
	}
	return root, nil
}

// fail names the repository in an error, and leaves nil alone.
func (r *tree) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("repository %s: %w", r.ID, err)
}

func checkNames(vm, backupID string) error {
	if !manifest.PlainName(vm) {
		return fmt.Errorf("directory of a vm %q: want 1 to 255 of A-Z a-z 0-9 . _ -, as nbd.DirName makes it", vm)
	}
	if !manifest.PlainName(backupID) {
		return fmt.Errorf("backup_id %q: want 1 to 255 of A-Z a-z 0-9 . _ -, and no . or - first", backupID)
	}
	return nil
}

// IOMode says which of QEMU's cache and aio modes work in this repository. It is found once, by writing a small file, and then
// remembered.
func (r *Repository) IOMode() (iomode.Mode, error) {
	mode, _, err := r.DetectIO()
	return mode, err
}

// DetectIO is IOMode with the reason, for people, why a faster mode cannot be used; "" for the fastest.
func (r *Repository) DetectIO() (mode iomode.Mode, reason string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.io != nil {
		return *r.io, r.why, nil
	}
	if mode, reason, err = iomode.Detect(r.Path, nil); err != nil {
		return iomode.Mode{}, "", r.fail(err)
	}
	r.io, r.why = &mode, reason
	return mode, reason, nil
}
