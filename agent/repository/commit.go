package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
	"github.com/sendense/backup-agent/nbd"
)

// The commit of a merge exchanges two directories in one step, where the file system can do that. NFS, most SMB and many FUSE file
// systems cannot. There it is two renames:
//
//	             <id>                 .merge-<id>          .old-<id>
//	sealed       old restore point    new restore point    -
//	in between   -                    new restore point    old restore point
//	committed    new restore point    -                    old restore point
//
// The names alone tell the state, so no journal beside them can be lost or contradict them. In between, both restore points are
// complete and synced, and the restore point is not missing: it is where .merge-<id> says. finishCommit goes forward from there.

// ErrMidMerge says that the commit of a merge is between its two renames. Nothing is lost: FinishMerge completes it.
var ErrMidMerge = errors.New("the commit of its merge is not completed; the agent completes it soon, and nothing is lost")

// CommitMerge replaces the directory of a restore point with a sealed one, in one step if the file system can exchange directories, or
// else in two. Then the old one has a name of the merge, and RemoveMerge removes it. The error is ErrMidMerge if only the first of two
// steps is known to be done: the merge is committed, and FinishMerge completes it.
func (r *Repository) CommitMerge(vm string, m manifest.Manifest) error {
	return r.fail(r.inMerge(vm, m.BackupID, func(dir, merge *os.Root) error {
		if want := nbd.DirName(m.VM.Name); filepath.Base(dir.Name()) != want {
			return fmt.Errorf("manifest of %s: vm %q belongs in directory %s", m.BackupID, m.VM.Name, want)
		}
		if _, err := merge.Lstat(manifest.FileName); err != nil {
			return rooted.Located(merge, err)
		}
		old, err := rooted.Enter(dir, m.BackupID) // it must be a directory, and no link
		if err != nil {
			return err
		}
		defer old.Close()
		failpoint.Reach("merge: before the exchange")
		err = exchange(dir, mergePrefix+m.BackupID, m.BackupID)
		if errors.Is(err, errNoExchange) {
			return commitByRenames(dir, m.BackupID)
		}
		if err != nil {
			return err
		}
		failpoint.Reach("merge: exchanged, not synced")
		return rooted.Sync(dir)
	}))
}

// errNoExchange says that a file system cannot exchange two directories in one step.
var errNoExchange = errors.New("the file system cannot exchange two directories in one step")

// exchange swaps the names of two entries of a directory, in one step. A file system that does not know the flag refuses it, or takes
// it for a plain rename, which finds that the second directory is not empty.
func exchange(dir *os.Root, a, b string) error {
	return rooted.Self(dir, func(f *os.File) error {
		fd := int(f.Fd())
		err := unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
		for _, refused := range []error{unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.ENOTEMPTY, unix.EEXIST} {
			if errors.Is(err, refused) {
				err = fmt.Errorf("%w: %w", errNoExchange, err)
				break
			}
		}
		if err != nil {
			return fmt.Errorf("exchange of %s and %s: %w", filepath.Join(dir.Name(), a), filepath.Join(dir.Name(), b), err)
		}
		return nil
	})
}

// commitByRenames commits a merge in two steps.
func commitByRenames(dir *os.Root, id string) error {
	failpoint.Reach("merge: before the old one is renamed")
	renamed := rename(dir, id, oldPrefix+id)
	mid, err := midMerge(dir, id)
	if err != nil || !mid {
		return errors.Join(renamed, err)
	}
	// An NFS server may have done what it could not answer.
	failpoint.Reach("merge: old one renamed, not synced")
	if err := finishCommit(dir, id); err != nil {
		return fmt.Errorf("%s: %w: %w", filepath.Join(dir.Name(), id), ErrMidMerge, err)
	}
	return nil
}

// midMerge reports whether the commit of a merge is between its two renames.
func midMerge(dir *os.Root, id string) (bool, error) {
	there, err := isThere(dir, id)
	if err != nil || there {
		return false, err
	}
	return isThere(dir, oldPrefix+id)
}

func isThere(dir *os.Root, name string) (bool, error) {
	_, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, rooted.Located(dir, err)
}

// FinishMerge completes a commit that was interrupted between its two renames. Otherwise it changes nothing.
func (r *Repository) FinishMerge(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return r.fail(err)
	}
	return r.fail(r.ifThere(func(dirs []*os.Root) error { return finishCommit(dirs[1], backupID) }, vm))
}

// finishCommit takes the second step. The first is on the disk before.
func finishCommit(dir *os.Root, id string) error {
	mid, err := midMerge(dir, id)
	if err != nil || !mid {
		return err
	}
	name, err := midName(dir, id)
	if err != nil {
		return err
	}
	if err := rooted.Sync(dir); err != nil {
		return err
	}
	failpoint.Reach("merge: old one renamed")
	if err := rename(dir, name, id); err != nil {
		if there, lookErr := isThere(dir, id); lookErr != nil || !there {
			return err
		}
	}
	failpoint.Reach("merge: new one renamed, not synced")
	return rooted.Sync(dir)
}

// midName is the name of the directory that becomes the restore point when the commit is completed. It is the new one; if somebody has
// removed that by hand, the old one.
func midName(dir *os.Root, id string) (string, error) {
	merge, err := rooted.Enter(dir, mergePrefix+id)
	if errors.Is(err, fs.ErrNotExist) {
		return oldPrefix + id, nil
	}
	if err != nil {
		return "", err
	}
	defer merge.Close()
	sealed, err := isThere(merge, manifest.FileName)
	if err == nil && !sealed {
		return oldPrefix + id, nil
	}
	return mergePrefix + id, err
}

func rename(dir *os.Root, from, to string) error {
	if err := dir.Rename(from, to); err != nil {
		return rooted.Located(dir, err)
	}
	return nil
}
