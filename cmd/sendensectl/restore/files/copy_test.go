package files

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// unprivileged runs a function with the file rights of a user, not of root, on its own thread.
func unprivileged(t *testing.T, f func(dir string)) {
	t.Helper()
	const uid = 4001
	dir, err := os.MkdirTemp("/tmp", "unprivileged-") // another user cannot enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		_, _ = unix.SetfsuidRetUid(uid)
		if got, err := unix.SetfsuidRetUid(uid); got != uid || err != nil {
			t.Errorf("files are made as %d, %v", got, err)
			return
		}
		f(dir)
	}()
	<-done
}

// TestCopyOfWhatMayNotBeWritten: a directory that its owner cannot write, such as /usr/bin of Red Hat systems, gets its name and
// its mode.
func TestCopyOfWhatMayNotBeWritten(t *testing.T) {
	mask := syscall.Umask(0o022)
	syscall.Umask(mask)
	umask := fs.FileMode(mask)
	for _, mode := range []fs.FileMode{0o555, 0o500, 0o755, 0o000} {
		unprivileged(t, func(dir string) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, name := range []string{"./", "./below/"} {
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: int64(mode)}); err != nil {
					t.Error(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			p, err := destination.FindFiles(dir, "/usr/bin")
			if err != nil {
				t.Error(err)
				return
			}
			f := fileCopy{Path: "/usr/bin"}
			if err := f.toDestination(p, &b, guestfiles.Entry{Mode: guestfiles.ModeDir}); err != nil {
				t.Errorf("%o: %v", mode, err)
			}
			if err := p.Close(); err != nil {
				t.Errorf("%o: %v", mode, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "bin")); err != nil || info.Mode().Perm() != mode&^umask {
				t.Errorf("%o: %v, %v", mode, info, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("%o: beside the copy: %v, %v", mode, entries, err)
			}
		})
	}
}
