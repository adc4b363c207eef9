package repository

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd"
)

// nobody is the exporters' user of the tests, which is not the agent's.
var nobody = &Owner{UID: 65534, GID: 65534}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless err contains all words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func wantIs(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
}

// newRepository makes an empty repository that other users can pass through.
func newRepository(t testing.TB, owner *Owner) *Repository {
	t.Helper()
	path := t.TempDir()
	for _, dir := range []string{path, filepath.Dir(path)} {
		must(t, os.Chmod(dir, 0o755))
	}
	return New("main", path, owner)
}

// makeBackup makes the directory and the images of a backup, as exporters do.
func makeBackup(t testing.TB, r *Repository, m manifest.Manifest) (vm, dir string) {
	t.Helper()
	vm = nbd.DirName(m.VM.Name)
	must(t, r.MakeDir(vm, m.BackupID))
	dir = r.Dir(vm, m.BackupID)
	for _, d := range m.Disks {
		path := filepath.Join(dir, d.File)
		must(t, os.WriteFile(path, []byte("image of "+m.BackupID), 0o600))
		if r.owner != nil {
			must(t, os.Chown(path, r.owner.UID, r.owner.GID))
		}
	}
	return vm, dir
}

// publish makes a restore point.
func publish(t testing.TB, r *Repository, m manifest.Manifest) (vm, dir string) {
	t.Helper()
	vm, dir = makeBackup(t, r, m)
	must(t, r.Publish(vm, m))
	return vm, dir
}

// asUser runs f with the file permissions of another user, in this thread only.
func asUser(t testing.TB, owner *Owner, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, set := range []struct {
		call    func(int) (int, error)
		to, was int
	}{{unix.SetfsgidRetGid, owner.GID, os.Getegid()}, {unix.SetfsuidRetUid, owner.UID, os.Geteuid()}} {
		_, err := set.call(set.to)
		must(t, err)
		defer func() { _, _ = set.call(set.was) }()
		if now, err := set.call(-1); err != nil || now != set.to {
			t.Fatalf("user or group is %d, want %d; %v: this test needs root", now, set.to, err)
		}
	}
	f()
}

// wantMode fails the test unless a file has this owner and mode.
func wantMode(t testing.TB, path string, uid, gid int, mode os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode().Perm() != mode || ownerOf(info) != uid || groupOf(info) != gid {
		t.Errorf("%s: mode %v of %d:%d, want %v of %d:%d", path, info.Mode().Perm(), ownerOf(info), groupOf(info), mode, uid, gid)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
