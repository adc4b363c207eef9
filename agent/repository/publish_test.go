package repository

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
	"github.com/sendense/backup-agent/nbd"
)

// owners are the two modes of the agent: with a separate user for the exporters, and without.
var owners = map[string]*Owner{"exporters' user": nobody, "own user": nil}

func TestPublish(t *testing.T) {
	for name, owner := range owners {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, owner)
			m := manifesttest.Full("vm", 1_700_000_000)
			vm, dir := makeBackup(t, r, m)
			_, err := r.Manifest(vm, m.BackupID)
			wantIs(t, err, ErrNoManifest)
			must(t, r.Publish(vm, m))
			got, err := r.Manifest(vm, m.BackupID)
			must(t, err)
			if got.BackupID != m.BackupID || exists(filepath.Join(dir, manifest.FileName+newSuffix)) {
				t.Errorf("manifest %+v", got)
			}
		})
	}
}

// TestPublishRepeated: after a crash at any step Publish does the rest. Until the commit there is no restore point, and all can be undone.
func TestPublishRepeated(t *testing.T) {
	for name, owner := range owners {
		t.Run(name, func(t *testing.T) {
			for done := 0; ; done++ {
				r := newRepository(t, owner)
				m := manifesttest.Full("vm", 1_700_000_000)
				vm, dir := makeBackup(t, r, m)
				steps := runSteps(t, r, vm, m, done)
				_, err := r.Manifest(vm, m.BackupID)
				committed := done > commitStep(t, steps)
				if committed != (err == nil) || !committed && !errors.Is(err, ErrNoManifest) {
					t.Fatalf("after %d steps: %v", done, err)
				}
				for range 2 {
					must(t, r.Publish(vm, m))
				}
				wantSealed(t, r, dir, m)
				if done == len(steps) {
					return
				}
			}
		})
	}
}

// TestUndoUnpublished: an unfinished publication can be removed or set aside after a crash.
func TestUndoUnpublished(t *testing.T) {
	for name, owner := range owners {
		t.Run(name, func(t *testing.T) {
			for done := 0; ; done++ {
				r := newRepository(t, owner)
				removed, kept := manifesttest.Full("vm", 1_700_000_000), manifesttest.Full("vm", 1_700_000_001)
				vm, _ := makeBackup(t, r, removed)
				makeBackup(t, r, kept)
				steps := runSteps(t, r, vm, removed, done)
				runSteps(t, r, vm, kept, done)
				err := r.RemoveDir(vm, removed.BackupID)
				_, aside := r.SetAside(vm, kept.BackupID)
				if done > commitStep(t, steps) {
					wantIs(t, err, ErrRestorePoint)
					wantIs(t, aside, ErrRestorePoint)
					return
				}
				must(t, err)
				must(t, aside)
				if exists(filepath.Join(r.Path, vm)) {
					t.Fatalf("after %d steps %s is left", done, vm)
				}
			}
		})
	}
}

// runSteps does the first steps of a publication and returns all of them.
func runSteps(t *testing.T, r *Repository, vm string, m manifest.Manifest, n int) []step {
	t.Helper()
	text, err := m.Encode()
	must(t, err)
	root, err := r.open()
	must(t, err)
	defer root.Close()
	p, err := r.enter(root, vm, m.BackupID)
	must(t, err)
	defer p.close()
	steps := r.publication(p, m, text)
	for _, s := range steps[:n] {
		must(t, s.do())
	}
	return steps
}

func commitStep(t *testing.T, steps []step) int {
	t.Helper()
	for i, s := range steps {
		if s.name == "committing the manifest" {
			return i
		}
	}
	t.Fatal("no step commits")
	return 0
}

func wantSealed(t *testing.T, r *Repository, dir string, m manifest.Manifest) {
	t.Helper()
	uid, gid, mode := os.Geteuid(), os.Getegid(), os.FileMode(0o700)
	if r.owner != nil {
		gid, mode = r.owner.GID, 0o750
	}
	wantMode(t, dir, uid, gid, mode)
	for _, d := range m.Disks {
		wantMode(t, filepath.Join(dir, d.File), uid, gid, 0o440)
	}
	wantMode(t, filepath.Join(dir, manifest.FileName), uid, os.Getegid(), 0o440)
}

// TestSealed: the exporters' user can read a restore point, and cannot change it.
func TestSealed(t *testing.T) {
	r := newRepository(t, nobody)
	m := manifesttest.Full("vm", 1_700_000_000)
	_, dir := makeBackup(t, r, m)
	image := filepath.Join(dir, m.Disks[0].File)
	asUser(t, nobody, func() { // as an exporter writes
		must(t, os.WriteFile(image, []byte("data"), 0o600))
	})
	must(t, r.Publish("vm", m))
	asUser(t, nobody, func() {
		if _, err := os.ReadFile(image); err != nil {
			t.Errorf("an overlay cannot read its backing image: %v", err)
		}
		for what, err := range map[string]error{
			"writing an image":      os.WriteFile(image, []byte("x"), 0o600),
			"changing its mode":     os.Chmod(image, 0o666),
			"removing an image":     os.Remove(image),
			"reading the manifest":  func() error { _, err := os.ReadFile(filepath.Join(dir, manifest.FileName)); return err }(),
			"removing the manifest": os.Remove(filepath.Join(dir, manifest.FileName)),
			"adding a file":         os.WriteFile(filepath.Join(dir, "x"), nil, 0o600),
			"changing the dir":      os.Chmod(dir, 0o777),
			"moving the dir":        os.Rename(dir, dir+"2"),
		} {
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v, want a refusal", what, err)
			}
		}
	})
}

// TestForgedManifest: until it is published the directory belongs to the exporters' user, who may write anything there.
func TestForgedManifest(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	text, err := m.Encode()
	must(t, err)
	for name, forge := range map[string]func(path string) error{
		"manifest":            func(path string) error { return os.WriteFile(path, text, 0o444) },
		"directory":           func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o755) },
		"FIFO":                func(path string) error { return unix.Mkfifo(path, 0o644) },
		"dangling link":       func(path string) error { return os.Symlink("nowhere", path) },
		"link to a directory": func(path string) error { return os.Symlink("/etc", path) },
	} {
		for _, file := range []string{manifest.FileName, manifest.FileName + newSuffix} {
			t.Run(name+" as "+file, func(t *testing.T) {
				r := newRepository(t, nobody)
				vm, dir := makeBackup(t, r, m)
				asUser(t, nobody, func() { must(t, forge(filepath.Join(dir, file))) })
				if _, err := r.Manifest(vm, m.BackupID); err == nil {
					t.Error("a forged manifest is believed")
				}
				if points, _, err := r.Points(); err != nil || len(points) != 0 {
					t.Errorf("%v, %v", points, err)
				}
				must(t, r.Publish(vm, m))
				wantSealed(t, r, dir, m)
			})
		}
		t.Run(name+", removed", func(t *testing.T) {
			r := newRepository(t, nobody)
			vm, dir := makeBackup(t, r, m)
			asUser(t, nobody, func() { must(t, forge(filepath.Join(dir, manifest.FileName))) })
			must(t, r.RemoveDir(vm, m.BackupID))
		})
	}
}

func TestPublishRefuses(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	tests := map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"missing image": {func(dir string) error { return os.Remove(filepath.Join(dir, m.Disks[1].File)) }, "no such file"},
		"image is a link": {func(dir string) error {
			path := filepath.Join(dir, m.Disks[1].File)
			return errors.Join(os.Remove(path), os.Symlink(m.Disks[0].File, path))
		}, "symbolic link"},
		"image is a FIFO": {func(dir string) error {
			path := filepath.Join(dir, m.Disks[1].File)
			return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
		}, "regular file"},
		"unreadable manifest of its own": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, manifest.FileName), []byte("{"), 0o600)
		}, "move it away"},
		"no directory": {os.RemoveAll, "no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, nobody)
			vm, dir := makeBackup(t, r, m)
			must(t, test.spoil(dir))
			wantError(t, r.Publish(vm, m), "repository main", dir, test.want)
			if _, err := r.Manifest(vm, m.BackupID); err == nil {
				t.Error("it is a restore point")
			}
		})
	}
	t.Run("another VM's directory", func(t *testing.T) {
		wantError(t, newRepository(t, nil).Publish("other", m), "belongs in directory vm")
	})
	t.Run("bad manifest", func(t *testing.T) {
		bad := manifesttest.Full("vm", 1_700_000_000)
		bad.Disks = nil
		wantError(t, newRepository(t, nil).Publish("vm", bad), "disks")
	})
	t.Run("repository is gone", func(t *testing.T) {
		r := New("main", filepath.Join(t.TempDir(), "gone"), nil)
		wantError(t, r.Publish(nbd.DirName("vm"), m), "repository main", "no such file")
	})
}
