package repository

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// TestShare: the number of the exporters' group has changed since the restore point was made, and the group must be able to read it.
func TestShare(t *testing.T) {
	then := newRepository(t, nobody)
	m := manifesttest.Full("vm", 1_700_000_000)
	vm, dir := publish(t, then, m)
	now := New(then.ID, then.Path, &Owner{UID: 65000, GID: 65001})
	image := filepath.Join(dir, m.Disks[1].File)
	read := func() (err error) {
		asUser(t, now.owner, func() { _, err = os.ReadFile(image) })
		return err
	}
	if read() == nil {
		t.Fatal("a group that never was the exporters' reads the images")
	}
	for range 2 {
		must(t, now.Share(vm, m))
		must(t, read())
		wantMode(t, dir, os.Geteuid(), 65001, 0o750)
		for _, d := range m.Disks {
			wantMode(t, filepath.Join(dir, d.File), os.Geteuid(), 65001, 0o440)
		}
	}
	// A crash came between the images and their directory.
	must(t, os.Chown(dir, -1, nobody.GID))
	must(t, now.Share(vm, m))
	must(t, read())
}

// TestShareLink: a link instead of an image is not followed.
func TestShareLink(t *testing.T) {
	r := newRepository(t, nobody)
	m := manifesttest.Full("vm", 1_700_000_000)
	vm, dir := publish(t, r, m)
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, nil, 0o600))
	image := filepath.Join(dir, m.Disks[0].File)
	must(t, os.Remove(image))
	must(t, os.Symlink(victim, image))
	wantError(t, New(r.ID, r.Path, &Owner{UID: 65000, GID: 65001}).Share(vm, m), image, "symbolic link")
	wantMode(t, victim, os.Geteuid(), os.Getegid(), 0o600)
}
