package main

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// unprivileged runs something with the rights that a user has to files, and not those of root: on a thread of its own, which ends.
func unprivileged(t *testing.T, f func(dir string)) {
	t.Helper()
	const uid = 4001
	dir, err := os.MkdirTemp("/tmp", "unprivileged-") // what t.TempDir gives nobody else may enter
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

// TestCopyOfWhatMayNotBeWritten: a directory that its owner may not write, as / and /usr/bin are of Red Hat's systems, gets its name
// and its mode.
func TestCopyOfWhatMayNotBeWritten(t *testing.T) {
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
			p, err := findPlace(dir, "/usr/bin")
			if err != nil {
				t.Error(err)
				return
			}
			f := fileCopy{Path: "/usr/bin"}
			if err := f.toPlace(p, &b, rpc.FileEntry{Mode: rpc.ModeDir}); err != nil {
				t.Errorf("%o: %v", mode, err)
			}
			if err := p.close(); err != nil {
				t.Errorf("%o: %v", mode, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "bin")); err != nil || info.Mode().Perm() != mode&^umask() {
				t.Errorf("%o: %v, %v", mode, info, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("%o: beside the copy: %v, %v", mode, entries, err)
			}
		})
	}
}

// TestTakenMeanwhile: what somebody has made under the name of a copy, while that was made, stays.
func TestTakenMeanwhile(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"file", "empty directory", "link"} {
		to := filepath.Join(dir, kind)
		take := func() error {
			switch kind {
			case "file":
				return os.WriteFile(to, []byte("mine"), 0o600)
			case "link":
				return os.Symlink("nowhere", to)
			}
			return os.Mkdir(to, 0o700)
		}
		p, err := findPlace(to, "/x")
		if err != nil {
			t.Fatal(err)
		}
		d, err := openTarget(t.Context(), to, "raw", false)
		if err != nil {
			t.Fatal(err)
		}
		root, err := p.open()
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Mkdir(copied, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.place(), []byte("disk"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := take(); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(to)
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"files": p.commit(), "disk": d.commit()} {
			if err == nil || !strings.Contains(err.Error(), to+" is there by now") {
				t.Errorf("%s in place of a %s: %v", what, kind, err)
			}
		}
		if after, err := os.Lstat(to); err != nil || !os.SameFile(before, after) {
			t.Errorf("the %s is not what it was: %v", kind, err)
		}
		root.Close()
		d.close()
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTargetOfADisk: a link that leads nowhere is not replaced, and an empty file only as long as it is empty.
func TestTargetOfADisk(t *testing.T) {
	dir := t.TempDir()
	link, empty := filepath.Join(dir, "link"), filepath.Join(dir, "empty")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if d, err := openTarget(t.Context(), link, "raw", true); err == nil || !strings.Contains(err.Error(), "link to what is not there") {
		t.Errorf("%+v, %v", d, err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		d, err := openTarget(t.Context(), empty, "raw", force)
		if err != nil {
			t.Fatal(err)
		}
		for path, content := range map[string]string{d.place(): "disk", empty: "mine"} {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.commit(); (err == nil) != force {
			t.Errorf("force %v: %v", force, err)
		}
		d.close()
	}
	if got, err := os.ReadFile(empty); err != nil || string(got) != "disk" {
		t.Errorf("%q, %v", got, err)
	}
}
