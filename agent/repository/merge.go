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

// mergePrefix begins the name of the directory that is to take a restore point's place. It lies beside it, so that what is
// relative in its images is right from the beginning, and its dot keeps it out of the catalog.
const mergePrefix = ".merge-"

// MergeDir is the absolute path of the directory that is to take the place of a restore point's.
func (r *Repository) MergeDir(vm, backupID string) string {
	return filepath.Join(r.Path, vm, mergePrefix+backupID)
}

// DigestMerge reads an image in the directory of a rewriting, and returns the digest of its file.
func (r *Repository) DigestMerge(ctx context.Context, vm, backupID, file string, o digest.Options) (d digest.Digest, err error) {
	var f *os.File
	err = r.inMerge(vm, backupID, func(_, merge *os.Root) (err error) {
		f, err = openRegular(merge, file)
		return err
	})
	if err != nil {
		return d, r.fail(err)
	}
	defer f.Close()
	d, err = digest.OfFile(ctx, f, o)
	return d, r.fail(err)
}

// ErrNoExchange says that a file system cannot exchange two directories in one step, so that no restore point can be written
// anew there.
var ErrNoExchange = errors.New("the file system cannot exchange two directories in one step")

// MakeMerge makes that directory, empty, for the exporters' user, in place of what an earlier attempt has left. It fails with
// ErrNoExchange before anything is copied where the exchange would fail in the end.
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

// inMerge has f work with the VM's directory, and the one that is to take a restore point's place.
func (r *Repository) inMerge(vm, backupID string, f func(dir, merge *os.Root) error) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := enter(root, vm)
	if err != nil {
		return err
	}
	defer dir.Close()
	merge, err := enter(dir, mergePrefix+backupID)
	if err != nil {
		return err
	}
	defer merge.Close()
	return f(dir, merge)
}

// tryExchange exchanges two directories that hold nothing.
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

// exchange gives each of two entries of a directory the other's name, in one step.
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

// SealMerge makes a restore point of the directory that is to take another's place, as Publish does, and brings it to the disk
// with all it holds. The images of linked are the old directory's own, which are as good as they were. Nothing stands there yet
// that anybody looks for.
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
		if err := r.take(merge); err != nil {
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
		for _, s := range r.sealing(p, m, text) {
			failpoint.Reach("merge: " + s.name)
			if err := s.do(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return syncDir(dir)
	}))
}

// sealing lists the steps of a publication in a directory that has its manifest only when it is whole.
func (r *Repository) sealing(p *place, m manifest.Manifest, text []byte) []step {
	steps := []step{{"looking for a manifest", func() error { return r.discardForged(p.dir) }}}
	for _, d := range m.Disks {
		steps = append(steps, step{"sealing an image", func() error { return r.sealImage(p.dir, d.File) }})
	}
	return append(steps,
		step{"writing the manifest", func() error { return writeManifest(p.dir, text) }},
		step{"naming the manifest", func() error { return located(p.dir, p.dir.Rename(manifest.FileName+newSuffix, manifest.FileName)) }},
		step{"syncing the directory", func() error { return syncDir(p.dir) }},
	)
}

// link gives a file of one directory a name in another, too. Neither name is followed if it is a symbolic link.
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

// SwapMerge has a sealed directory take the place of the restore point's, in one step: whoever looks finds the old one or the
// new one, each whole. Then the old one has the other's name, for RemoveMerge.
func (r *Repository) CommitMerge(vm string, m manifest.Manifest) error {
	return r.fail(r.inMerge(vm, m.BackupID, func(dir, merge *os.Root) error {
		if want := nbd.DirName(m.VM.Name); filepath.Base(dir.Name()) != want {
			return fmt.Errorf("manifest of %s: vm %q belongs in directory %s", m.BackupID, m.VM.Name, want)
		}
		if _, err := merge.Lstat(manifest.FileName); err != nil {
			return located(merge, err)
		}
		old, err := enter(dir, m.BackupID) // a directory of its own, and no link
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

// SyncVM brings what has changed among the directories of a VM to the disk.
func (r *Repository) SyncVM(vm string) error {
	root, err := r.open()
	if err != nil {
		return r.fail(err)
	}
	defer root.Close()
	dir, err := enter(root, vm)
	if err != nil {
		return r.fail(err)
	}
	defer dir.Close()
	return r.fail(syncDir(dir))
}

// RemoveMerge removes the directory that was to take a restore point's place, or whose place was taken. What is not there is
// fine.
func (r *Repository) RemoveMerge(vm, backupID string) error {
	return r.fail(r.removeMerge(vm, backupID))
}

func (r *Repository) removeMerge(vm, backupID string) error {
	if err := checkNames(vm, backupID); err != nil {
		return err
	}
	root, err := r.open()
	if err != nil {
		return err // a repository that is away looks like one in which nothing is left
	}
	defer root.Close()
	dir, err := enter(root, vm)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	merge, err := enter(dir, mergePrefix+backupID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = makeWritable(merge)
	_ = merge.Close()
	if err != nil {
		return err
	}
	failpoint.Reach("merge: before what is left")
	if err := removeTree(dir, mergePrefix+backupID); err != nil {
		return err
	}
	failpoint.Reach("merge: what is left is removed")
	return syncDir(dir)
}

// Merges lists the directories that were to take the place of restore points, or whose place was taken.
func (r *Repository) Merges() ([]Entry, error) {
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
		id, ours := strings.CutPrefix(d.BackupID, mergePrefix)
		if ours && manifest.PlainName(d.VM) && manifest.PlainName(id) {
			list = append(list, Entry{VM: d.VM, BackupID: id})
		}
	}
	return list, nil
}

// Usage is how many bytes the files of a backup's directory take on the disk. A file that has another name elsewhere counts
// all the same.
func (r *Repository) Usage(vm, backupID string) (bytes int64, err error) {
	root, err := r.open()
	if err != nil {
		return 0, r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if err != nil {
		return 0, r.fail(err)
	}
	defer p.close()
	entries, err := fs.ReadDir(p.dir.FS(), ".")
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it went meanwhile
		}
		bytes += allocated(info)
	}
	return bytes, r.fail(err)
}
