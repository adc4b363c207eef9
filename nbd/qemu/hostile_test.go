package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/nbd/qemu/qemutest"
)

// patch overwrites a part of an image's header.
func patch(t *testing.T, path string, offset int64, value any) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := binary.Append(nil, binary.BigEndian, value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
}

// TestHugeTables: an image with huge tables, or with a loop in them, is refused. The last case is stopped by the limit of memory:
// to check its billion clusters would take 8 GiB.
func TestHugeTables(t *testing.T) {
	ctx := testContext(t)
	for name, test := range map[string]struct {
		options string
		spoil   func(path string)
		header  string // what the look at the header says; "": nothing is wrong there
		want    string
	}{
		"L1 table":         {"", func(path string) { patch(t, path, 36, uint32(1<<31)) }, "an L1 table of 2147483648 entries", ""},
		"refcount table":   {"", func(path string) { patch(t, path, 56, uint32(1<<31)) }, "", ""},
		"snapshots":        {"", func(path string) { patch(t, path, 60, uint32(1<<30)) }, "", ""},
		"L1 is the header": {"", func(path string) { patch(t, path, 40, uint64(0)) }, "its L1 table of 2 entries is at byte 0", ""},
		"virtual size":     {"", func(path string) { patch(t, path, 24, uint64(1<<62)) }, "an L1 table of 2 entries for 4611686018427387904 bytes", ""},
		"file": {",cluster_size=512,refcount_bits=64", func(path string) {
			if err := os.Truncate(path, 1<<39); err != nil {
				t.Fatal(err)
			}
		}, "", "Cannot allocate memory"},
	} {
		path := filepath.Join(tempDir(t), "hostile.qcow2")
		qemutest.Create(t, "-o", "compat=1.1"+test.options, path, "1G")
		test.spoil(path)
		if _, err := (Tools{}).Info(path); (err == nil) != (test.header == "") || err != nil && !strings.Contains(err.Error(), test.header) {
			t.Errorf("%s: info: %v", name, err)
		}
		if _, err := (Tools{}).Check(ctx, path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: check: %v", name, err)
		}
	}
}

// TestConfined: qemu-img cannot open the files that an image names, even if it is told to follow them, as here.
func TestConfined(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	other := newImage(t, filepath.Join(dir, "other.qcow2"), MiB)
	if err := os.Chmod(other, 0o644); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, make([]byte, MiB), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hostile.qcow2")
	for _, backing := range []struct{ format, name string }{
		{"qcow2", other},
		{"raw", secret},
		{"raw", "/etc/shadow"},
		{"raw", "/dev/zero"},
		{"raw", `json:{"driver":"raw","file":{"driver":"file","filename":"` + secret + `"}}`},
		{"raw", "nbd://127.0.0.1:10809/x"},
		{"raw", "nbd+unix:///x?socket=" + secret},
		{"raw", `json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"inet","host":"127.0.0.1","port":"10809"}}}`},
	} {
		qemutest.Create(t, "-u", "-b", backing.name, "-F", backing.format, path, "1M")
		file, _, _, err := (Tools{}).openImage(path)
		if err != nil {
			t.Fatal(err)
		}
		c := call{verb: "info", path: path, image: file, limits: reading()}
		output, err := (Tools{}).run(ctx, c, "-U", "-f", "qcow2", "--backing-chain", "--", path)
		if err == nil || !strings.Contains(err.Error(), "Could not open") || !strings.Contains(err.Error(), "denied") && !strings.Contains(err.Error(), "not permitted") {
			t.Errorf("%s: %v: %s", backing.name, err, output)
		}
		if _, err := (Tools{}).run(ctx, c, "-U", "-f", "qcow2", "--", path); err != nil {
			t.Errorf("%s: without following: %v", backing.name, err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Without the confinement qemu-img follows them, so the test can fail.
	qemutest.Create(t, "-u", "-b", other, "-F", "qcow2", path, "1M")
	if output, err := exec.Command("qemu-img", "info", "--backing-chain", path).CombinedOutput(); err != nil || !strings.Contains(string(output), "image: "+other) {
		t.Errorf("%v: %s", err, output)
	}
}

// TestSwapped: another file takes the name of an image after the check and before qemu-img runs.
func TestSwapped(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	other := newImage(t, filepath.Join(dir, "other.qcow2"), 2*MiB)
	path := filepath.Join(dir, "image.qcow2")
	for name, swap := range map[string]func() error{
		"link":      func() error { return os.Symlink(other, path) },
		"hard link": func() error { return os.Link(other, path) },
		"FIFO":      func() error { return syscall.Mkfifo(path, 0o600) },
	} {
		newImage(t, path, MiB)
		file, stat, _, err := (Tools{}).openImage(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(path), swap()); err != nil {
			t.Fatal(err)
		}
		output, err := (Tools{}).run(ctx, call{verb: "check", path: path, image: file, write: true, limits: repairing(stat)}, "-r", "leaks", "-f", "qcow2", "--", path)
		if err == nil || !strings.Contains(err.Error(), "denied") {
			t.Errorf("%s: %v: %s", name, err, output)
		}
		if err := errors.Join(file.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoots: below a root no link to a directory is followed, not even within it; the root's own path may have links.
func TestRoots(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	real := filepath.Join(dir, "real")
	for _, d := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(real, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "root")
	if err := errors.Join(os.Symlink(real, root), os.Symlink("a", filepath.Join(real, "link"))); err != nil {
		t.Fatal(err)
	}
	tools := Tools{Roots: []string{root}}
	if err := tools.Create(ctx, ImageSpec{Path: filepath.Join(root, "a", "image.qcow2"), SizeBytes: MiB}); err != nil {
		t.Fatal(err)
	}
	if _, err := tools.Info(filepath.Join(root, "a", "image.qcow2")); err != nil {
		t.Error(err)
	}
	linked := filepath.Join(root, "link", "image.qcow2")
	_, infoErr := tools.Info(linked)
	_, checkErr := tools.Check(ctx, linked)
	createErr := tools.Create(ctx, ImageSpec{Path: filepath.Join(root, "link", "new.qcow2"), SizeBytes: MiB})
	parentErr := tools.Create(ctx, ImageSpec{Path: filepath.Join(root, "b", "new.qcow2"), SizeBytes: MiB, BackingFile: "../link/image.qcow2"})
	for i, err := range []error{infoErr, checkErr, createErr, parentErr} {
		if !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), filepath.Join(root, "link")+" is not a directory") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(real, "a")); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", fmt.Sprint(entries), err)
	}
}
