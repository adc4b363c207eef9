package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// mergePrefix begins the name of the directory of a merge, which will replace a restore point's. It lies beside that one, so that
// relative paths in its images are right from the beginning, and its dot keeps it out of the catalog. oldPrefix begins the name of the
// restore point that it replaces, where the two cannot be exchanged in one step.
const (
	mergePrefix = ".merge-"
	oldPrefix   = ".old-"
)

// MergeDir is the absolute path of the directory of a merge in the repository at a path, which will replace the restore point's.
func MergeDir(path, vm, backupID string) string {
	return filepath.Join(path, vm, mergePrefix+backupID)
}

// DigestMerge reads an image in the directory of a merge, and returns the digest of its file.
func (r *Repository) DigestMerge(ctx context.Context, vm, backupID, file string, o digest.Options) (d digest.Digest, err error) {
	err = r.inMerge(vm, backupID, func(_, merge *os.Root) (err error) {
		d, err = digestOf(ctx, merge, file, o)
		return err
	})
	return d, r.fail(err)
}

// MakeMerge makes the directory of a merge, empty, for the exporters' user, and removes what an earlier attempt has left.
func (r *Repository) MakeMerge(vm, backupID string) error {
	there, err := r.Exists(vm, backupID)
	if err == nil && !there {
		err = r.fail(&fs.PathError{Op: "open", Path: r.Dir(vm, backupID), Err: fs.ErrNotExist})
	}
	if err != nil {
		return err
	}
	if err := r.RemoveMerge(vm, backupID); err != nil {
		return err
	}
	return r.fail(r.makeWithin(vm, mergePrefix+backupID))
}

// inMerge calls f with the directory of the VM and that of the merge.
func (r *tree) inMerge(vm, backupID string, f func(dir, merge *os.Root) error) error {
	return r.within(func(dirs []*os.Root) error { return f(dirs[1], dirs[2]) }, vm, mergePrefix+backupID)
}

// SealMerge makes a restore point of the directory of a merge, as Publish does, and syncs it to the disk. It links the images in linked
// from the current directory of the restore point, because the merge does not change them; where the file system has no hard links, it
// copies them. Nobody reads the directory yet.
func (r *Repository) SealMerge(vm string, m manifest.Manifest, linked []string) error {
	text, err := m.Encode()
	if err != nil {
		return r.fail(err)
	}
	return r.fail(r.inMerge(vm, m.BackupID, func(dir, merge *os.Root) error {
		old, err := rooted.Enter(dir, m.BackupID)
		if err != nil {
			return err
		}
		defer old.Close()
		if err := r.owner.take(merge); err != nil {
			return err
		}
		for _, file := range linked {
			failpoint.Reach("merge: before a link")
			if err := link(old, merge, file); err != nil {
				return err
			}
			failpoint.Reach("merge: linked")
		}
		p := &place{vm: dir, dir: merge}
		for _, s := range r.owner.sealing(p, m, text) {
			failpoint.Reach("merge: " + s.name)
			if err := s.do(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return rooted.Sync(dir)
	}))
}

// sealing lists the steps that publish a directory. It gets its manifest when all else is complete.
func (o *Owner) sealing(p *place, m manifest.Manifest, text []byte) []step {
	steps := []step{{"looking for a manifest", func() error { return o.discardForged(p.dir) }}}
	for _, d := range m.Disks {
		steps = append(steps, step{"sealing an image", func() error { return o.sealImage(p.dir, d.File) }})
	}
	return append(steps,
		step{"writing the manifest", func() error { return writeManifest(p.dir, text) }},
		step{"naming the manifest", func() error {
			return rooted.Located(p.dir, p.dir.Rename(manifest.FileName+newSuffix, manifest.FileName))
		}},
		step{"syncing the directory", func() error { return rooted.Sync(p.dir) }},
	)
}

// link links a file of one directory into another. It follows no symbolic link.
func link(from, to *os.Root, name string) error {
	f, err := rooted.OpenRegular(from, name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = rooted.Self(from, func(old *os.File) error {
		return rooted.Self(to, func(new *os.File) error { return unix.Linkat(int(old.Fd()), name, int(new.Fd()), name, 0) })
	})
	if noLinks(err) {
		return rooted.CopyFile(f, to, name)
	}
	if err != nil {
		return fmt.Errorf("link of %s: %w", filepath.Join(to.Name(), name), err)
	}
	linked, err := to.Lstat(name)
	if err != nil {
		return rooted.Located(to, err)
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(info, linked) {
		return errors.Join(fmt.Errorf("%s: was replaced while it was linked", f.Name()), err)
	}
	return nil
}

// noLinks reports that a file system, or the server behind it, makes no hard link: FAT and FUSE say EPERM (link(2)), SMB and some NFS
// servers that they do not support it, and others that the file has as many as it can have.
func noLinks(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EMLINK)
}

// SyncVM syncs the directory of a VM to the disk.
func (r *Repository) SyncVM(vm string) error {
	return r.fail(r.within(func(dirs []*os.Root) error { return rooted.Sync(dirs[1]) }, vm))
}

// RemoveMerge removes what a merge has left: its directory, and, after the commit, the old restore point. It first completes a commit
// that was interrupted. Missing directories are no error.
func (r *Repository) RemoveMerge(vm, backupID string) error {
	return r.fail(r.removeMerge(vm, backupID))
}

func (r *tree) removeMerge(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return err
	}
	return r.ifThere(func(dirs []*os.Root) error {
		dir, removed := dirs[1], false
		if err := finishCommit(dir, backupID); err != nil {
			return err
		}
		for _, name := range []string{mergePrefix + backupID, oldPrefix + backupID} {
			left, err := rooted.Enter(dir, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			err = rooted.MakeWritable(left)
			_ = left.Close()
			if err == nil && !removed {
				err = rooted.Sync(dir) // the commit is on the disk before the old restore point goes
			}
			if err != nil {
				return err
			}
			failpoint.Reach("merge: before what is left")
			if err := rooted.RemoveTree(dir, name); err != nil {
				return err
			}
			failpoint.Reach("merge: what is left is removed")
			removed = true
		}
		if !removed {
			return nil
		}
		return rooted.Sync(dir)
	}, vm)
}

// Merges lists the restore points beside which a merge has left a directory: an unfinished one, or the old restore point.
func (r *Repository) Merges() (list []Entry, err error) {
	seen := map[Entry]bool{}
	err = r.eachEntry(func(_ *os.Root, e Entry) error {
		id, ours := cutMerge(e.BackupID)
		e = Entry{VM: e.VM, BackupID: id}
		if ours && !seen[e] && manifest.PlainName(e.VM) && manifest.PlainName(id) {
			seen[e] = true
			list = append(list, e)
		}
		return nil
	})
	return list, err
}

// cutMerge returns the id of the restore point that a directory of a merge belongs to.
func cutMerge(name string) (id string, ours bool) {
	for _, prefix := range []string{mergePrefix, oldPrefix} {
		if id, ours = strings.CutPrefix(name, prefix); ours {
			return id, true
		}
	}
	return "", false
}

// Usage is how many bytes the files in a backup's directory take on the disk, including files that are linked elsewhere, too.
func (r *Repository) Usage(vm, backupID string) (bytes int64, err error) {
	err = r.at(vm, backupID, func(p *place) error {
		entries, err := fs.ReadDir(p.dir.FS(), ".")
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue // it was removed meanwhile
			}
			bytes += allocated(info)
		}
		return err
	})
	return bytes, r.fail(err)
}
