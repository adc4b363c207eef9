package powerloss

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/units/systemdtest"
)

func TestMain(m *testing.M) { systemdtest.Main(m) }

// What was done to a file system is what the log says: played again, with nothing lost, it gives the same.
func TestRecorder(t *testing.T) {
	dir := systemdtest.DiskDir(t)
	var r Recorder
	unmount, err := r.Mount(dir)
	must(t, err)
	workOn(t, dir)
	want := listing(t, dir)
	must(t, unmount())
	d := NewDisk(r.Log())
	for d.Next() {
	}
	must(t, d.After(Nothing).Write(nil))
	if got := listing(t, dir); got != want {
		t.Errorf("played again:\n%s\nthere was:\n%s", got, want)
	}
	must(t, d.After(Unsynced).Write(nil))
	if got, want := listing(t, dir), "d drwxr-x--- 0:0\nd/moved -r--r----- 0:0 6 \"synced\"\n"; got != want {
		t.Errorf("of what was synced there is\n%s\nwant\n%s", got, want)
	}
	top := filepath.Base(dir)
	for _, want := range []string{"sync " + top + "/new", "sync " + top + "/d", "rename " + top + "/new to moved", "sync " + top + "/direct"} {
		if !strings.Contains(fmt.Sprint(r.Log().Ops), want) {
			t.Errorf("%q is not in the log", want)
		}
	}
}

// workOn does what agent, bbolt and QEMU do.
func workOn(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir+"/d", 0o700))
	must(t, os.Chmod(dir+"/d", 0o750))
	must(t, os.WriteFile(dir+"/new", []byte("synced"), 0o600))
	f, err := os.OpenFile(dir+"/new", os.O_RDWR, 0)
	must(t, err)
	must(t, f.Chmod(0o440))
	must(t, f.Sync())
	must(t, os.Rename(dir+"/new", dir+"/d/moved"))
	syncDir(t, dir+"/d")
	syncDir(t, dir)
	_, err = f.WriteAt([]byte("behind a hole"), 9000)
	must(t, err)
	must(t, f.Truncate(9003))
	must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 2, 2))
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, 9100))
	must(t, f.Close())
	must(t, os.Link(dir+"/d/moved", dir+"/twice"))
	must(t, os.WriteFile(dir+"/gone", []byte("x"), 0o600))
	must(t, os.Remove(dir+"/gone"))
	must(t, os.Chown(dir+"/twice", 12, 34))
	if err := os.Remove(dir + "/d"); err == nil {
		t.Error("a directory that is not empty was removed")
	}
	writeDirect(t, dir+"/direct")
	must(t, os.MkdirAll(dir+"/one/inside", 0o700))
	must(t, os.MkdirAll(dir+"/other", 0o750))
	must(t, unix.Renameat2(unix.AT_FDCWD, dir+"/one", unix.AT_FDCWD, dir+"/other", unix.RENAME_EXCHANGE))
	if err := unix.Renameat2(unix.AT_FDCWD, dir+"/one", unix.AT_FDCWD, dir+"/nowhere", unix.RENAME_EXCHANGE); err == nil {
		t.Error("a name was exchanged with none")
	}
	nameless, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	must(t, err)
	_, err = nameless.WriteString("x")
	must(t, err)
	must(t, nameless.Close())
}

func writeDirect(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	must(t, err)
	page := make([]byte, 8192)
	page = page[4096-uintptr(unsafe.Pointer(&page[0]))%4096:][:4096]
	copy(page, bytes.Repeat([]byte{7}, 4096))
	_, err = f.WriteAt(page, 4096)
	must(t, err)
	must(t, unix.Fdatasync(int(f.Fd())))
	must(t, f.Close())
}

func syncDir(t *testing.T, path string) {
	t.Helper()
	d, err := os.Open(path)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
}

// listing is all there is of a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %s %d:%d", strings.TrimPrefix(path, dir+"/"), info.Mode(), owner.Uid, owner.Gid)
		if !e.IsDir() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %q", len(data), bytes.Trim(data, "\x00"))
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
