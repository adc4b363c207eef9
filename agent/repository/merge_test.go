package repository

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// merge writes images with new content into the directory of a merge, as qemu-img does.
func merge(t *testing.T, r *Repository, m manifest.Manifest, files ...string) {
	t.Helper()
	must(t, r.MakeMerge("vm", m.BackupID))
	for _, file := range files {
		must(t, os.WriteFile(filepath.Join(MergeDir(r.Path, "vm", m.BackupID), file), []byte("new "+file), 0o600))
	}
}

// TestMergeTakesThePlace: the new directory replaces the old one as an ordinary restore point, with the unchanged images, whether the
// file system can exchange directories or not. The old one stays until it is removed.
func TestMergeTakesThePlace(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, r *Repository){
		"by exchange": func(*testing.T, *Repository) {},
		"by renames":  func(t *testing.T, r *Repository) { onPlainMount(t, r) },
	} {
		t.Run(name, func(t *testing.T) {
			r, m := newRepository(t, nobody), manifesttest.Full("vm", 1_700_000_000)
			prepare(t, r)
			publish(t, r, m)
			dir := r.Dir("vm", m.BackupID)
			kept, err := os.ReadFile(filepath.Join(dir, m.Disks[1].File))
			must(t, err)
			after := merged(m)
			merge(t, r, m, m.Disks[0].File)
			if got, err := r.Manifest("vm", m.BackupID); err != nil || got.Merge != nil {
				t.Errorf("before anything is exchanged: %+v, %v", got, err)
			}
			must(t, r.SealMerge("vm", after, []string{m.Disks[1].File}))
			must(t, r.CommitMerge("vm", after))
			got, err := r.Manifest("vm", m.BackupID)
			if w := got.Merge; err != nil || w == nil || !w.At.Equal(after.Merge.At) || !w.Synthetic || w.Points != 2 {
				t.Errorf("%+v, %v", got, err)
			}
			old := filepath.Join(r.Path, "vm", oldPrefix+m.BackupID)
			if name == "by exchange" {
				old = MergeDir(r.Path, "vm", m.BackupID)
			}
			wantMode(t, filepath.Join(old, m.Disks[0].File), os.Geteuid(), nobody.GID, 0o440)
			if list, err := r.Merges(); err != nil || len(list) != 1 || list[0] != (Entry{VM: "vm", BackupID: m.BackupID}) {
				t.Errorf("%+v, %v", list, err)
			}
			must(t, r.RemoveMerge("vm", m.BackupID))
			must(t, r.RemoveMerge("vm", m.BackupID)) // what is not there is fine
			for i, want := range []string{"new " + m.Disks[0].File, string(kept)} {
				path := filepath.Join(dir, m.Disks[i].File)
				text, err := os.ReadFile(path)
				info, statErr := os.Stat(path)
				if err != nil || statErr != nil || string(text) != want || info.Mode().Perm() != 0o440 || ownerOf(info) != os.Geteuid() {
					t.Errorf("%s holds %q, mode %s: %v", path, text, info.Mode(), err)
				}
			}
			wantPoint(t, r, after)
		})
	}
}

// TestMergeCopiesWhatCannotBeLinked: where the file system refuses a hard link, as it does for a file that must not change, SealMerge copies
// the image. A copy that cannot be made is an error.
func TestMergeCopiesWhatCannotBeLinked(t *testing.T) {
	r, m := newRepository(t, nobody), manifesttest.Full("vm", 1_700_000_000)
	publish(t, r, m)
	image := filepath.Join(r.Dir("vm", m.BackupID), m.Disks[1].File)
	want, err := os.ReadFile(image)
	must(t, err)
	setImmutable(t, image, true)
	t.Cleanup(func() { setImmutable(t, image, false) })
	merge(t, r, m, m.Disks[0].File)
	must(t, r.SealMerge("vm", merged(m), []string{m.Disks[1].File}))
	copied := filepath.Join(MergeDir(r.Path, "vm", m.BackupID), m.Disks[1].File)
	got, err := os.ReadFile(copied)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
	}
	wantMode(t, copied, os.Geteuid(), nobody.GID, 0o440)
	if err := r.SealMerge("vm", merged(m), []string{m.Disks[1].File}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("there is a file already: %v", err)
	}
}

// setImmutable sets or clears the flag that chattr(1) calls i: the kernel then refuses to link the file.
func setImmutable(t *testing.T, path string, on bool) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	flags &^= immutable
	if on {
		flags |= immutable
	}
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
}

// merged is the manifest of a restore point after a merge.
func merged(m manifest.Manifest) manifest.Manifest {
	m.Merge = &record.Merged{At: m.CreatedAt, Synthetic: true, Points: 2}
	return m
}

// wantPoint fails the test unless a restore point is whole, the only one, and all that is in the repository.
func wantPoint(t *testing.T, r *Repository, m manifest.Manifest) {
	t.Helper()
	got, err := r.Manifest("vm", m.BackupID)
	if err != nil || (got.Merge != nil) != (m.Merge != nil) {
		t.Errorf("%+v, %v", got, err)
	}
	wantFound(t, r)
	for _, d := range m.Disks {
		text, err := os.ReadFile(filepath.Join(r.Dir("vm", m.BackupID), d.File))
		if isNew := strings.HasPrefix(string(text), "new "); err != nil || isNew && m.Merge == nil {
			t.Errorf("%s holds %q: %v", d.File, text, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(r.Path, "vm")); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// wantFound fails the test unless one whole restore point is found.
func wantFound(t *testing.T, r *Repository) {
	t.Helper()
	points, problems, err := r.Points()
	if err != nil || len(points) != 1 || !points[0].Whole || len(problems) > 0 || filepath.Base(points[0].Path) != points[0].Manifest.BackupID {
		t.Errorf("%+v, %v, %v", points, problems, err)
	}
}

// TestCommitCutShort cuts the commit of a merge short at each rename, before the rename or after it, and then goes on in each way. The
// restore point is found, is taken for missing by nobody, and becomes the merged one as soon as its old directory has been renamed.
func TestCommitCutShort(t *testing.T) {
	for _, c := range []struct {
		name      string
		rename    int32
		lost      bool // the rename is done, and its answer is lost
		mid, done bool // what is left: the state between, and the merged restore point in the end
	}{
		{"before the first", 1, false, false, false},
		{"after the first", 1, true, true, true},
		{"before the second", 2, false, true, true},
		{"after the second", 2, true, false, true},
	} {
		for next, goOn := range map[string]func(r *Repository, id string) error{
			"finish": func(r *Repository, id string) error {
				return errors.Join(r.FinishMerge("vm", id), r.FinishMerge("vm", id), r.RemoveMerge("vm", id))
			},
			"remove": func(r *Repository, id string) error { return r.RemoveMerge("vm", id) },
			"merge again": func(r *Repository, id string) error {
				return errors.Join(r.MakeMerge("vm", id), r.RemoveMerge("vm", id))
			},
			"delete": func(r *Repository, id string) error { return r.RemovePoint("vm", id) },
		} {
			t.Run(c.name+", then "+next, func(t *testing.T) {
				r, m := newRepository(t, nobody), manifesttest.Full("vm", 1_700_000_000)
				mount := onPlainMount(t, r)
				publish(t, r, m)
				merge(t, r, m, m.Disks[0].File)
				after := merged(m)
				must(t, r.SealMerge("vm", after, []string{m.Disks[1].File}))
				mount.fail(c.rename, c.lost)
				err := r.CommitMerge("vm", after)
				if done := c.rename == 2 && c.lost; (err == nil) != done || errors.Is(err, ErrMidMerge) != c.mid {
					t.Errorf("the commit: %v", err)
				}
				if c.mid {
					wantError(t, r.FinishMerge("vm", m.BackupID), "input/output error")
					_, err := r.Manifest("vm", m.BackupID)
					wantIs(t, err, ErrMidMerge)
				}
				if there, err := r.Exists("vm", m.BackupID); !there || err != nil {
					t.Errorf("it is taken for missing: %v", err)
				}
				wantFound(t, r)
				mount.heal()
				must(t, goOn(r, m.BackupID))
				switch {
				case next == "delete":
					if entries, err := os.ReadDir(r.Path); err != nil || len(entries) > 0 {
						t.Errorf("left: %v, %v", entries, err)
					}
				case c.done:
					wantPoint(t, r, after)
				default:
					wantPoint(t, r, m)
				}
			})
		}
	}
}

// TestCommitGoesBack: if somebody has removed the new directory, or its manifest, the old restore point gets its name back.
func TestCommitGoesBack(t *testing.T) {
	for _, what := range []string{"", manifest.FileName} {
		r, m := newRepository(t, nil), manifesttest.Full("vm", 1_700_000_000)
		publish(t, r, m)
		merge(t, r, m, m.Disks[0].File)
		must(t, r.SealMerge("vm", merged(m), []string{m.Disks[1].File}))
		must(t, os.Rename(r.Dir("vm", m.BackupID), filepath.Join(r.Path, "vm", oldPrefix+m.BackupID)))
		must(t, os.RemoveAll(filepath.Join(MergeDir(r.Path, "vm", m.BackupID), what)))
		wantFound(t, r)
		must(t, r.RemoveMerge("vm", m.BackupID))
		wantPoint(t, r, m)
	}
}

// TestMergeFollowsNoLink: a link instead of any directory or image of a merge is refused.
func TestMergeFollowsNoLink(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	for name, attack := range map[string]func(t *testing.T, r *Repository, outside string){
		"of the new directory": func(t *testing.T, r *Repository, outside string) {
			must(t, os.Rename(MergeDir(r.Path, "vm", m.BackupID), filepath.Join(outside, "new")))
			must(t, os.Symlink(filepath.Join(outside, "new"), MergeDir(r.Path, "vm", m.BackupID)))
		},
		"of the old directory": func(t *testing.T, r *Repository, outside string) {
			must(t, os.Rename(r.Dir("vm", m.BackupID), filepath.Join(outside, "old")))
			must(t, os.Symlink(filepath.Join(outside, "old"), r.Dir("vm", m.BackupID)))
		},
		"of a new image": func(t *testing.T, r *Repository, outside string) {
			image := filepath.Join(MergeDir(r.Path, "vm", m.BackupID), m.Disks[0].File)
			must(t, os.Rename(image, filepath.Join(outside, "image")))
			must(t, os.Symlink(filepath.Join(outside, "image"), image))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, outside := newRepository(t, nil), t.TempDir()
			publish(t, r, m)
			merge(t, r, m, m.Disks[0].File)
			attack(t, r, outside)
			before := listing(t, outside)
			err := r.SealMerge("vm", m, []string{m.Disks[1].File})
			if err == nil {
				err = r.CommitMerge("vm", m)
			}
			wantError(t, err, "symbolic link")
			_ = r.RemoveMerge("vm", m.BackupID)
			if after := listing(t, outside); after != before {
				t.Errorf("something changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestRemoveFollowsNoLink: nothing outside the repository is removed, whatever is in a removed directory, and whatever replaces it
// meanwhile.
func TestRemoveFollowsNoLink(t *testing.T) {
	outside := t.TempDir()
	precious := filepath.Join(outside, "precious")
	must(t, os.WriteFile(precious, []byte("x"), 0o640))
	before := listing(t, outside)
	m := manifesttest.Full("vm", 1_700_000_000)

	t.Run("links within", func(t *testing.T) {
		r := newRepository(t, nil)
		publish(t, r, m)
		dir := r.Dir("vm", m.BackupID)
		must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
		must(t, os.Symlink(outside, filepath.Join(dir, "sub", "directory")))
		must(t, os.Symlink(precious, filepath.Join(dir, "file")))
		must(t, os.Symlink("../../../../../../../..", filepath.Join(dir, "up")))
		must(t, os.Link(precious, filepath.Join(dir, "hard")))
		must(t, r.RemovePoint("vm", m.BackupID))
	})
	for _, on := range []string{"", "sub"} {
		t.Run("a mount on "+on, func(t *testing.T) {
			r := newRepository(t, nil)
			publish(t, r, m)
			at := filepath.Join(r.Dir("vm", m.BackupID), on)
			must(t, os.MkdirAll(at, 0o700))
			must(t, unix.Mount(outside, at, "", unix.MS_BIND, ""))
			err := r.RemovePoint("vm", m.BackupID)
			must(t, unix.Unmount(at, 0))
			wantError(t, err, "mounted")
			if _, err := r.Manifest("vm", m.BackupID); err != nil {
				t.Errorf("it is no restore point any more: %v", err)
			}
			must(t, r.RemovePoint("vm", m.BackupID))
		})
	}
	t.Run("a directory that becomes a link", func(t *testing.T) {
		for range 30 {
			exchangeWhile(t, outside, m)
		}
	})
	if after := listing(t, outside); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

// exchangeWhile removes a restore point while another goroutine replaces its directory, and one in it, with links, as fast as possible.
func exchangeWhile(t *testing.T, outside string, m manifest.Manifest) {
	t.Helper()
	r := New("main", t.TempDir(), nil)
	publish(t, r, m)
	dir := r.Dir("vm", m.BackupID)
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "file"), nil, 0o600))
	links := []string{filepath.Join(r.Path, "link"), filepath.Join(r.Path, "vm", "link")}
	for _, l := range links {
		must(t, os.Symlink(outside, l))
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			for i, at := range []string{filepath.Join(dir, "sub"), dir} {
				_ = unix.Renameat2(unix.AT_FDCWD, links[i], unix.AT_FDCWD, at, unix.RENAME_EXCHANGE)
				_ = unix.Renameat2(unix.AT_FDCWD, links[i], unix.AT_FDCWD, at, unix.RENAME_EXCHANGE)
			}
		}
	}()
	_ = r.RemovePoint("vm", m.BackupID) // whatever comes of it
	stop.Store(true)
	<-done
}
