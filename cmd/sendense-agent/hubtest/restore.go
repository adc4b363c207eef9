package hubtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/rpc"
	"golang.org/x/sys/unix"
)

// Point makes a restore point of a VM and returns its id.
func (h *Hub) Point(vm string, kind rpc.BackupType) string {
	h.Helper()
	code, stdout, stderr := h.CTL("backup", "start", vm, "--type", string(kind), "--wait", "-o", "json")
	var b rpc.Backup
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != 0 {
		h.Fatalf("%d %s %s", code, stdout, stderr)
	}
	return b.BackupID
}

func SameDisk(t *testing.T, source, written, format string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", format, source, written).CombinedOutput(); err != nil {
		t.Errorf("%s is not what %s was: %s", written, source, out)
	}
}

// NothingServed checks that every restore has ended.
func (h *Hub) NothingServed() {
	h.Helper()
	list, err := h.Dial().ListRestores(h.Context(), rpc.RestoreQuery{ActiveOnly: true})
	Must(h.T, err)
	if len(list.Restores) > 0 {
		h.Errorf("still served: %+v", list.Restores)
	}
}

// LoopNodes makes the nodes of loop devices.
func LoopNodes(t *testing.T) {
	t.Helper()
	Node(t, "/dev/loop-control", unix.S_IFCHR, unix.Mkdev(10, 237))
	for minor := range uint32(64) {
		Node(t, fmt.Sprint("/dev/loop", minor), unix.S_IFBLK, unix.Mkdev(7, minor))
	}
}

// Node makes a device node: the machine of the tests has a /dev of its own.
func Node(t *testing.T, path string, kind uint32, device uint64) {
	t.Helper()
	if err := unix.Mknod(path, kind|0o600, int(device)); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

// NoRestoreLeft checks that of restores there is no unit, no socket, and nothing beside the targets.
func (h *Hub) NoRestoreLeft(targets string) {
	h.Helper()
	h.NothingServed()
	if left := Exporters(h.T); len(left) > 0 {
		h.Errorf("left: %q", left)
	}
	for _, pattern := range []string{filepath.Dir(rpc.DefaultSocket) + "/files-*", targets + "/*", targets + "/.*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			h.Errorf("left: %q, %v", left, err)
		}
	}
}
