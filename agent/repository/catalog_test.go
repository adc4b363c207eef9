package repository

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

func TestPoints(t *testing.T) {
	r := newRepository(t, nobody)
	full := manifesttest.Full("vm", 1_700_000_000)
	child := manifesttest.Incremental(full, 1_700_000_100)
	odd := manifesttest.Full("Name with ünïcode/slash", 1_700_000_000)
	var want []string
	for _, m := range []manifest.Manifest{odd, full, child} {
		_, dir := publish(t, r, m)
		want = append(want, dir)
	}
	// None of these is a restore point, and none is a problem.
	makeBackup(t, r, manifesttest.Full("vm", 1_700_000_200))
	makeBackup(t, r, manifesttest.Full("failed", 1_700_000_200))
	_, err := r.SetAside("failed", manifesttest.Full("failed", 1_700_000_200).BackupID)
	must(t, err)
	for _, dir := range []string{"lost+found", "bad\xffname", "empty", "vm/notes"} {
		must(t, os.MkdirAll(filepath.Join(r.Path, dir), 0o755))
	}
	for _, file := range []string{"README", "vm/README", ".hidden", "lost+found/manifest.json", "bad\xffname/x"} {
		must(t, os.WriteFile(filepath.Join(r.Path, file), nil, 0o644))
	}
	points, problems, err := r.Points()
	must(t, err)
	var got []string
	for _, p := range points {
		got = append(got, p.Path)
		if !p.Whole {
			t.Errorf("%s is not whole", p.Path)
		}
	}
	if d := cmp.Diff(want, got); d != "" || len(problems) > 0 {
		t.Errorf("%s\nproblems: %v", d, problems)
	}
}

// TestPointsProblems: each problem is reported, with all restore points that are based on it. Nothing else is lost.
func TestPointsProblems(t *testing.T) {
	full := manifesttest.Full("vm", 1_700_000_000)
	child := manifesttest.Incremental(full, 1_700_000_100)
	grandchild := manifesttest.Incremental(child, 1_700_000_200)
	damages := map[string]struct {
		damage func(vm string) error
		whole  int      // restore points of the VM that are still whole
		want   []string // words of the problems, in their order
	}{
		"damaged manifest": {func(vm string) error {
			path := filepath.Join(vm, full.BackupID, manifest.FileName)
			return os.WriteFile(path, []byte("{}"), 0o600)
		}, 0, []string{"version 0", "parent " + full.BackupID + " is missing", "parent " + child.BackupID + " is not complete"}},
		"parent is gone": {
			func(vm string) error { return os.RemoveAll(filepath.Join(vm, child.BackupID)) },
			1,
			[]string{"parent " + child.BackupID + " is missing"},
		},
		"image is gone": {
			func(vm string) error { return os.Remove(filepath.Join(vm, child.BackupID, child.Disks[1].File)) },
			1,
			[]string{"disk 1: image vm-disk1.qcow2 is missing", "parent " + child.BackupID + " is not complete"},
		},
		"image is a directory": {func(vm string) error {
			path := filepath.Join(vm, grandchild.BackupID, child.Disks[0].File)
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, 2, []string{"want a regular file"}},
		"directory was renamed": {func(vm string) error {
			return os.Rename(filepath.Join(vm, grandchild.BackupID), filepath.Join(vm, "copy"))
		}, 2, []string{"in the directory of copy"}},
		"manifest is of another VM": {func(vm string) error {
			m := manifesttest.Full("other", 1_700_000_200)
			m.BackupID = grandchild.BackupID
			text, err := m.Encode()
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(vm, grandchild.BackupID, manifest.FileName), text, 0o600)
		}, 2, []string{"belongs in directory other"}},
		"link in a VM's directory": {
			func(vm string) error { return os.Symlink(child.BackupID, filepath.Join(vm, "link")) },
			3,
			[]string{"symbolic link"},
		},
		"ring": {func(vm string) error {
			m := manifesttest.Incremental(grandchild, 1_700_000_000)
			text, err := m.Encode()
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(vm, full.BackupID, manifest.FileName), text, 0o600)
		}, 0, []string{"not complete", "not complete", "not complete"}},
		"backing that the parent has not": {func(vm string) error {
			m := grandchild
			m.Disks = append([]manifest.Disk(nil), m.Disks...)
			m.Disks[0].Backing = "../" + child.BackupID + "/other.qcow2"
			text, err := m.Encode()
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(vm, m.BackupID, manifest.FileName), text, 0o600)
		}, 2, []string{"does not belong to its parent"}},
	}
	for name, test := range damages {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, nobody)
			for _, m := range []manifest.Manifest{full, child, grandchild, manifesttest.Full("aa", 1), manifesttest.Full("zz", 1)} {
				publish(t, r, m)
			}
			must(t, test.damage(filepath.Join(r.Path, "vm")))
			points, problems, err := r.Points()
			must(t, err)
			whole, others := 0, 0
			for _, p := range points {
				switch {
				case p.Manifest.VM.Name != "vm":
					others++
				case p.Whole:
					whole++
				}
			}
			if whole != test.whole || others != 2 {
				t.Errorf("%d whole restore points and %d of other VMs, want %d and 2", whole, others, test.whole)
			}
			if len(problems) != len(test.want) {
				t.Fatalf("problems %v", problems)
			}
			for i, p := range problems {
				if !strings.HasPrefix(p.Path, filepath.Join(r.Path, "vm")) {
					t.Errorf("path %s", p.Path)
				}
				wantError(t, p.Err, test.want[i])
			}
		})
	}
}

func TestPointsUnreadable(t *testing.T) {
	_, _, err := New("main", filepath.Join(t.TempDir(), "gone"), nil).Points()
	wantError(t, err, "repository main", "no such file")

	r := newRepository(t, nil)
	must(t, os.Chown(r.Path, nobody.UID, nobody.GID))
	publish(t, r, manifesttest.Full("secret", 1)) // of root: the directory of the backup is closed to others
	asUser(t, nobody, func() {
		publish(t, r, manifesttest.Full("vm", 1))
		must(t, os.Mkdir(filepath.Join(r.Path, "closed"), 0))
		points, problems, err := r.Points()
		must(t, err)
		if len(points) != 1 || len(problems) != 2 {
			t.Errorf("points %v, problems %v", points, problems)
		}
	})
}
