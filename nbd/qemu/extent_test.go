package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu/qemutest"
)

// TestWhole: the header is read also from a truncated file, and the error names the image.
func TestWhole(t *testing.T) {
	path := filepath.Join(tempDir(t), "x.qcow2")
	qemutest.Create(t, path, "16M")
	qemuIO(t, path, "write -P 7 0 3M")
	plain, err := (Tools{}).Info(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := (Tools{}).Whole(path); err != nil || info != plain {
		t.Errorf("%+v, %v, and Info says %+v", info, err, plain)
	}
	if err := os.Truncate(path, 2*MiB); err != nil {
		t.Fatal(err)
	}
	info, err := (Tools{}).Whole(path)
	if !errors.Is(err, qcow2.ErrCutShort) || !strings.Contains(err.Error(), path) || info.VirtualBytes != 16*MiB {
		t.Errorf("%+v, %v", info, err)
	}
}
