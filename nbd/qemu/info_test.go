package qemu

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu/qemutest"
)

func TestWhatIsNoImage(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	path := filepath.Join(dir, "x")
	image := newImage(t, filepath.Join(dir, "real.qcow2"), MiB)
	write := func(content []byte) func() error {
		return func() error { return os.WriteFile(path, content, 0o600) }
	}
	header := func(version byte) []byte {
		return append([]byte{'Q', 'F', 'I', 0xfb, 0, 0, 0, version}, make([]byte, 200)...)
	}
	for name, test := range map[string]struct {
		make func() error
		want error // nil: any
	}{
		"missing":       {func() error { return nil }, fs.ErrNotExist},
		"empty":         {write(nil), qcow2.ErrNotQcow2},
		"junk":          {write(bytes.Repeat([]byte("x"), 9999)), qcow2.ErrNotQcow2},
		"version 9":     {write(header(9)), qcow2.ErrNotQcow2},
		"cut short":     {write(header(3)[:80]), qcow2.ErrNotQcow2},
		"only a header": {write(header(3)), qcow2.ErrNotQcow2},
		"directory":     {func() error { return os.Mkdir(path, 0o700) }, nil},
		"FIFO":          {func() error { return syscall.Mkfifo(path, 0o600) }, nil},
		"symlink":       {func() error { return os.Symlink(image, path) }, syscall.ELOOP},
	} {
		if err := test.make(); err != nil {
			t.Fatal(err)
		}
		_, infoErr := (Tools{}).Info(path)
		_, checkErr := (Tools{}).Check(ctx, path)
		for _, err := range []error{infoErr, checkErr} {
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHostileBackingFile: a file that an image names is not opened.
func TestHostileBackingFile(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	bait := filepath.Join(dir, "bait") // to open it for reading would block
	if err := syscall.Mkfifo(bait, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hostile.qcow2")
	for _, backing := range []string{
		bait, "/nonexistent", "hostile.qcow2", "nbd://127.0.0.1:1/x", `json:{"driver":"file","filename":"` + bait + `"}`,
	} {
		qemutest.Create(t, "-u", "-b", backing, "-F", "raw", path, "1M")
		if info, err := (Tools{}).Info(path); err != nil || info.BackingFile != backing {
			t.Errorf("%s: %+v, %v", backing, info, err)
		}
		if _, err := (Tools{}).Check(ctx, path); err != nil {
			t.Errorf("%s: %v", backing, err)
		}
		if _, err := (Tools{}).RepairLeaks(ctx, path); err != nil {
			t.Errorf("%s: %v", backing, err)
		}
		child := ImageSpec{Path: filepath.Join(dir, "child.qcow2"), SizeBytes: MiB, BackingFile: "hostile.qcow2"}
		if err := (Tools{}).Create(ctx, child); err != nil {
			t.Errorf("%s: %v", backing, err)
		}
		if err := os.Remove(child.Path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExternalDataIsRefused(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	path := filepath.Join(dir, "data.qcow2")
	qemutest.Create(t, "-o", "data_file="+filepath.Join(dir, "raw"), path, "1M")
	_, infoErr := (Tools{}).Info(path)
	_, checkErr := (Tools{}).Check(ctx, path)
	createErr := (Tools{}).Create(ctx, ImageSpec{Path: filepath.Join(dir, "child"), SizeBytes: MiB, BackingFile: "data.qcow2"})
	for _, err := range []error{infoErr, checkErr, createErr} {
		if !errors.Is(err, qcow2.ErrExternalData) {
			t.Errorf("%v", err)
		}
	}
}

func TestAnImageInUse(t *testing.T) {
	ctx := testContext(t)
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0"})
	if _, err := nbd.Probe(ctx, s.addr, "vm-disk0"); err != nil {
		t.Fatal(err)
	}
	if info, err := (Tools{}).Info(path); err != nil || info.VirtualBytes != 8*MiB {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := (Tools{}).Check(ctx, path); !errors.Is(err, ErrImageInUse) {
		t.Errorf("check: %v", err)
	}
	if _, err := (Tools{}).RepairLeaks(ctx, path); !errors.Is(err, ErrImageInUse) {
		t.Errorf("repair: %v", err)
	}
}
