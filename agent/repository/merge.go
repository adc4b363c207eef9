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
	"github.com/sendense/backup-agent/nbd"
)

// mergePrefix begins the name of the directory of a merge, which will replace a restore point's. It lies beside that one, so that
// relative paths in its images are right from the beginning, and its dot keeps it out of the catalog.
const mergePrefix = ".merge-"

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

// ErrNoExchange says that a file system cannot exchange two directories in one step, so that no merge is possible there.
var ErrNoExchange = errors.New("the file system cannot exchange two directories in one step")

// MakeMerge makes the directory of a merge, empty, for the exporters' user, and removes what an earlier attempt has left. It fails
// with ErrNoExchange if the exchange would fail in the end.
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
	if err := r.makeWithin(vm, mergePrefix+backupID); err != nil {
		return r.fail(err)
	}
	return r.fail(r.inMerge(vm, backupID, func(_, merge *os.Root) error { return tryExchange(merge) }))
}

// inMerge calls f with the directory of the VM and that of the merge.
func (r *Repository) inMerge(vm, backupID string, f func(dir, merge *os.Root) error) error {
	return r.within(func(dirs []*os.Root) error { return f(dirs[1], dirs[2]) }, vm, mergePrefix+backupID)
}

// tryExchange exchanges two empty directories.
func tryExchange(within *os.Root) error {
	names := []string{"a", "b"}
	for _, name := range names {
		if err := within.Mkdir(name, 0o700); err != nil {
			return located(within, err)
		}
	}
	err := exchange(within, names[0], names[1])
	for _, name := range names {
		if e := within.Remove(name); e != nil {
			err = errors.Join(err, located(within, e))
		}
	}
	return err
}

// exchange swaps the names of two entries of a directory, in one step.
func exchange(dir *os.Root, a, b string) error {
	return self(dir, func(f *os.File) error {
		fd := int(f.Fd())
		err := unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
			err = fmt.Errorf("%w: %w", ErrNoExchange, err)
		}
		if err != nil {
			return fmt.Errorf("exchange of %s and %s: %w", filepath.Join(dir.Name(), a), filepath.Join(dir.Name(), b), err)
		}
		return nil
	})
}

// SealMerge makes a restore point of the directory of a merge, as Publish does, and syncs it to the disk. It links the images in linked
// from the current directory of the restore point, because the merge does not change them. Nobody reads the directory yet.
func (r *Repository) SealMerge(vm string, m manifest.Manifest, linked []string) error {
	text, err := m.Encode()
	if err != nil {
		return r.fail(err)
	}
	return r.fail(r.inMerge(vm, m.BackupID, func(dir, merge *os.Root) error {
		old, err := enter(dir, m.BackupID)
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
		return syncDir(dir)
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
		step{"naming the manifest", func() error { return located(p.dir, p.dir.Rename(manifest.FileName+newSuffix, manifest.FileName)) }},
		step{"syncing the directory", func() error { return syncDir(p.dir) }},
	)
}

// link links a file of one directory into another. It follows no symbolic link.
func link(from, to *os.Root, name string) error {
	f, err := openRegular(from, name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = self(from, func(old *os.File) error {
		return self(to, func(new *os.File) error { return unix.Linkat(int(old.Fd()), name, int(new.Fd()), name, 0) })
	})
	if err != nil {
		return fmt.Errorf("link of %s: %w", filepath.Join(to.Name(), name), err)
	}
	linked, err := to.Lstat(name)
	if err != nil {
		return located(to, err)
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(info, linked) {
		return errors.Join(fmt.Errorf("%s: was replaced while it was linked", f.Name()), err)
	}
	return nil
}

// CommitMerge exchanges a sealed directory with that of the restore point, in one step: a reader finds the old one or the new one, each
// complete. Then the old one has the name of the merge, and RemoveMerge removes it.
func (r *Repository) CommitMerge(vm string, m manifest.Manifest) error {
	return r.fail(r.inMerge(vm, m.BackupID, func(dir, merge *os.Root) error {
		if want := nbd.DirName(m.VM.Name); filepath.Base(dir.Name()) != want {
			return fmt.Errorf("manifest of %s: vm %q belongs in directory %s", m.BackupID, m.VM.Name, want)
		}
		if _, err := merge.Lstat(manifest.FileName); err != nil {
			return located(merge, err)
		}
		old, err := enter(dir, m.BackupID) // it must be a directory, and no link
		if err != nil {
			return err
		}
		defer old.Close()
		failpoint.Reach("merge: before the exchange")
		if err := exchange(dir, mergePrefix+m.BackupID, m.BackupID); err != nil {
			return err
		}
		failpoint.Reach("merge: exchanged, not synced")
		return syncDir(dir)
	}))
}

// SyncVM syncs the directory of a VM to the disk.
func (r *Repository) SyncVM(vm string) error {
	return r.fail(r.within(func(dirs []*os.Root) error { return syncDir(dirs[1]) }, vm))
}

// RemoveMerge removes the directory of a merge: an unfinished one, or, after the commit, the old restore point. A missing directory is
// no error.
func (r *Repository) RemoveMerge(vm, backupID string) error {
	return r.fail(r.removeMerge(vm, backupID))
}

func (r *Repository) removeMerge(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return err
	}
	name := mergePrefix + backupID
	return r.ifThere(func(dirs []*os.Root) error {
		if err := makeWritable(dirs[2]); err != nil {
			return err
		}
		failpoint.Reach("merge: before what is left")
		if err := removeTree(dirs[1], name); err != nil {
			return err
		}
		failpoint.Reach("merge: what is left is removed")
		return syncDir(dirs[1])
	}, vm, name)
}

// Merges lists the directories of merges: unfinished ones, and old restore points after the commit.
func (r *Repository) Merges() (list []Entry, err error) {
	err = r.eachEntry(func(_ *os.Root, e Entry) error {
		id, ours := strings.CutPrefix(e.BackupID, mergePrefix)
		if ours && manifest.PlainName(e.VM) && manifest.PlainName(id) {
			list = append(list, Entry{VM: e.VM, BackupID: id})
		}
		return nil
	})
	return list, err
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
