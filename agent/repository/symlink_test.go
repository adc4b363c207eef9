package repository

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// TestLinksAreNotFollowed: if a link replaces a directory or a manifest, nothing behind it is read, made, changed or removed.
func TestLinksAreNotFollowed(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	attacks := map[string]func(t *testing.T, r *Repository, target string){
		"vm is a link": func(t *testing.T, r *Repository, target string) {
			must(t, os.Symlink(target, filepath.Join(r.Path, "vm")))
		},
		"vm is a link within the repository": func(t *testing.T, r *Repository, target string) {
			must(t, os.Rename(target, filepath.Join(r.Path, "other")))
			must(t, os.Symlink("other", filepath.Join(r.Path, "vm")))
		},
		"vm is a FIFO": func(t *testing.T, r *Repository, _ string) {
			must(t, unix.Mkfifo(filepath.Join(r.Path, "vm"), 0o600))
		},
		"backup is a link": func(t *testing.T, r *Repository, target string) {
			must(t, os.Mkdir(filepath.Join(r.Path, "vm"), 0o711))
			must(t, os.Symlink(filepath.Join(target, m.BackupID), r.Dir("vm", m.BackupID)))
		},
		"backup is a FIFO": func(t *testing.T, r *Repository, _ string) {
			must(t, os.Mkdir(filepath.Join(r.Path, "vm"), 0o711))
			must(t, unix.Mkfifo(r.Dir("vm", m.BackupID), 0o600))
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			// What must stay as it is: a restore point of the same names elsewhere.
			elsewhere := newRepository(t, nil)
			publish(t, elsewhere, m)
			r := newRepository(t, nobody)
			attack(t, r, filepath.Join(elsewhere.Path, "vm"))
			before := listing(t, r.Path) + listing(t, elsewhere.Path)

			_, manifest := r.Manifest("vm", m.BackupID)
			_, aside := r.SetAside("vm", m.BackupID)
			for what, err := range map[string]error{
				"Manifest": manifest, "SetAside": aside, "Publish": r.Publish("vm", m),
				"RemoveDir": r.RemoveDir("vm", m.BackupID), "RemovePoint": r.RemovePoint("vm", m.BackupID),
				"MakeDir": r.MakeDir("vm", m.BackupID),
			} {
				if err == nil || errors.Is(err, ErrNoManifest) {
					t.Errorf("%s: %v, want a refusal", what, err)
				}
			}
			points, _, err := r.Points()
			must(t, err)
			if len(points) != 0 {
				t.Errorf("found %v", points)
			}
			if after := listing(t, r.Path) + listing(t, elsewhere.Path); after != before {
				t.Errorf("something changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestManifestIsAFile: a manifest that is not a regular file is refused without blocking.
func TestManifestIsAFile(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	for name, put := range map[string]func(path string) error{
		"link": func(path string) error {
			return errors.Join(os.Rename(path, path+".real"), os.Symlink(manifest.FileName+".real", path))
		},
		"FIFO":      func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"huge":      func(path string) error { return os.Truncate(path, 1<<40) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, nobody)
			_, dir := publish(t, r, m)
			must(t, put(filepath.Join(dir, manifest.FileName)))
			_, err := r.Manifest("vm", m.BackupID)
			wantError(t, err, "repository main", filepath.Join(dir, manifest.FileName))
			wantIs(t, r.RemoveDir("vm", m.BackupID), ErrRestorePoint)
			wantError(t, r.Publish("vm", m), "move it away")
			points, problems, err := r.Points()
			must(t, err)
			if len(points) != 0 || len(problems) != 1 || problems[0].Path != dir {
				t.Errorf("points %v, problems %v", points, problems)
			}
		})
	}
}

// TestLinksWithinAreRemovedAsLinks: the contents of a backup's directory are removed, and not the targets of links.
func TestLinksWithinAreRemovedAsLinks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "precious")
	must(t, os.Mkdir(outside, 0o755))
	must(t, os.WriteFile(filepath.Join(outside, "file"), nil, 0o644))
	r := newRepository(t, nobody)
	_, dir := makeBackup(t, r, manifesttest.Full("vm", 1_700_000_000))
	asUser(t, nobody, func() { must(t, os.Symlink(outside, filepath.Join(dir, "x"))) })
	must(t, r.RemoveDir("vm", filepath.Base(dir)))
	if !exists(filepath.Join(outside, "file")) {
		t.Error("a link was followed")
	}
}

// listing lists everything below a path, with modes and owners.
func listing(t *testing.T, path string) string {
	t.Helper()
	list := ""
	must(t, filepath.Walk(path, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			list += info.Mode().String() + " " + path + "\n"
		}
		return err
	}))
	return list
}
