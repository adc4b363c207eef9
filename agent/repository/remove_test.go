package repository

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

func TestMakeDir(t *testing.T) {
	for name, owner := range owners {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, owner)
			must(t, r.MakeDir("vm", "backup-vm-1"))
			wantMode(t, filepath.Join(r.Path, "vm"), 0, 0, 0o711)
			want := Owner{}
			if owner != nil {
				want = *owner
			}
			wantMode(t, r.Dir("vm", "backup-vm-1"), want.UID, want.GID, 0o700)
			wantIs(t, r.MakeDir("vm", "backup-vm-1"), os.ErrExist)
		})
	}
}

func TestNamesAreRefused(t *testing.T) {
	r := newRepository(t, nil)
	for _, name := range []string{"", ".", "..", ".failed", "a/b", "../a", "/etc", "-a", "a\x00", "a\xff", "a b"} {
		for vm, id := range map[string]string{name: "backup-vm-1", "vm": name} {
			_, aside := r.SetAside(vm, id)
			_, manifest := r.Manifest(vm, id)
			for _, err := range []error{
				r.MakeDir(vm, id), r.RemoveDir(vm, id), r.RemovePoint(vm, id), aside, manifest,
			} {
				wantError(t, err, "want 1 to 255 of")
			}
		}
	}
	if entries, err := os.ReadDir(r.Path); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestRemoveDir(t *testing.T) {
	for name, owner := range owners {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, owner)
			one, two := manifesttest.Full("vm", 1_700_000_000), manifesttest.Full("vm", 1_700_000_001)
			makeBackup(t, r, one)
			_, dir := publish(t, r, two)
			for range 2 {
				must(t, r.RemoveDir("vm", one.BackupID))
			}
			wantIs(t, r.RemoveDir("vm", two.BackupID), ErrRestorePoint)
			wantSealed(t, r, dir, two)
			for range 2 {
				must(t, r.RemovePoint("vm", two.BackupID))
			}
			if exists(filepath.Join(r.Path, "vm")) {
				t.Error("the VM's directory is left")
			}
		})
	}
}

// TestRemoveUnreadable: an unreadable manifest may belong to a restore point.
func TestRemoveUnreadable(t *testing.T) {
	r := newRepository(t, nobody)
	m := manifesttest.Full("vm", 1_700_000_000)
	_, dir := makeBackup(t, r, m)
	must(t, os.WriteFile(filepath.Join(dir, manifest.FileName), []byte("{"), 0o600))
	wantIs(t, r.RemoveDir("vm", m.BackupID), ErrRestorePoint)
	must(t, r.RemovePoint("vm", m.BackupID))
}

// TestRemoveAfterCrash: the manifest of a restore point is removed first, and the next call removes the rest.
func TestRemoveAfterCrash(t *testing.T) {
	r := newRepository(t, nobody)
	m := manifesttest.Full("vm", 1_700_000_000)
	_, dir := publish(t, r, m)
	must(t, os.Remove(filepath.Join(dir, manifest.FileName)))
	must(t, os.Remove(filepath.Join(dir, m.Disks[0].File)))
	must(t, r.RemovePoint("vm", m.BackupID))
	if exists(dir) {
		t.Error("it is left")
	}
}

// TestWithoutRoot: an agent without root makes, publishes, removes and sets aside directories, also read-only ones.
func TestWithoutRoot(t *testing.T) {
	r := newRepository(t, nil)
	must(t, os.Chown(r.Path, nobody.UID, nobody.GID))
	asUser(t, nobody, func() {
		for i, readOnly := range []os.FileMode{0o700, 0o550, 0} {
			failed, point := manifesttest.Full("vm", int64(1+2*i)), manifesttest.Full("vm", int64(2+2*i))
			kept := manifesttest.Full("vm", int64(100+i))
			_, failedDir := makeBackup(t, r, failed)
			_, keptDir := makeBackup(t, r, kept)
			_, pointDir := publish(t, r, point)
			if readOnly != 0 {
				for _, dir := range []string{failedDir, keptDir, pointDir} {
					must(t, os.Chmod(dir, readOnly))
				}
			}
			must(t, r.RemoveDir("vm", failed.BackupID))
			path, err := r.SetAside("vm", kept.BackupID)
			must(t, err)
			if !exists(path) {
				t.Errorf("%s is not there", path)
			}
			if readOnly != 0 {
				wantIs(t, r.RemoveDir("vm", point.BackupID), ErrRestorePoint)
				wantMode(t, pointDir, nobody.UID, nobody.GID, readOnly)
			}
			must(t, r.RemovePoint("vm", point.BackupID))
		}
	})
}

func TestNothingToRemove(t *testing.T) {
	r := newRepository(t, nobody)
	must(t, r.RemoveDir("vm", "backup-vm-1"))
	must(t, New("main", filepath.Join(r.Path, "gone"), nil).RemoveDir("vm", "backup-vm-1"))
	must(t, os.Mkdir(filepath.Join(r.Path, "vm"), 0o711)) // a crash came between the two removals
	must(t, r.RemoveDir("vm", "backup-vm-1"))
	if exists(filepath.Join(r.Path, "vm")) {
		t.Error("the VM's directory is left")
	}
}

// TestMakeWhileRemoving: the last backup of a VM is removed while the next one begins.
func TestMakeWhileRemoving(t *testing.T) {
	r := newRepository(t, nobody)
	var group sync.WaitGroup
	end := time.Now().Add(300 * time.Millisecond)
	for _, id := range []string{"a", "b", "c"} {
		group.Go(func() {
			for time.Now().Before(end) {
				if err := r.MakeDir("vm", id); err != nil {
					t.Error(err)
				}
				if err := r.RemoveDir("vm", id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestSetAside(t *testing.T) {
	r := newRepository(t, nobody)
	m, other := manifesttest.Full("vm", 1_700_000_000), manifesttest.Full("vm", 1_700_000_001)
	makeBackup(t, r, m)
	want := filepath.Join(r.Path, ".failed", "vm", m.BackupID)
	for range 2 { // the second time as after a crash
		path, err := r.SetAside("vm", m.BackupID)
		must(t, err)
		if path != want {
			t.Errorf("path %s, want %s", path, want)
		}
	}
	if !exists(filepath.Join(want, m.Disks[0].File)) || exists(filepath.Join(r.Path, "vm")) {
		t.Error("the images are not there, or the VM's directory is left")
	}
	wantMode(t, filepath.Join(r.Path, ".failed"), 0, 0, 0o700)
	wantMode(t, filepath.Dir(want), 0, 0, 0o700)

	if path, err := r.SetAside("vm", other.BackupID); path != "" || err != nil {
		t.Errorf("what is not there: %q, %v", path, err)
	}
	_, dir := publish(t, r, other)
	_, err := r.SetAside("vm", other.BackupID)
	wantIs(t, err, ErrRestorePoint)
	wantSealed(t, r, dir, other)

	makeBackup(t, r, m)
	_, err = r.SetAside("vm", m.BackupID)
	wantError(t, err, want, "move it away")
}
