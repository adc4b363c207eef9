package restores_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// TestRestoreDiskDiffers: one bit that differs from the restore point is found before the copy gets its name, whatever its format.
func TestRestoreDiskDiffers(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", 96<<20)
	id := h.Point("pgtest1", rpc.Full)
	dir := t.TempDir()
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		to := filepath.Join(dir, "disk."+format)
		p := hubtest.Start(t, hubtest.Program("sendensectl"), "restore", "disk", id, "0", to, "--format", format)
		var pid int
		for stopped := false; !stopped; { // without a pause: it is done in a moment
			pid = hubtest.ChildOf(p.Cmd.Process.Pid)
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			stopped = err == nil && bytes.HasPrefix(line, []byte("qemu-img\x00compare\x00")) && syscall.Kill(pid, syscall.SIGSTOP) == nil
			if code, exited := p.Exited(0); exited {
				t.Fatalf("%s: it ended before it was compared: %d %s", format, code, p.Stderr())
			}
		}
		systemdtest.StopProcess(t, pid)
		made, err := filepath.Glob(dir + "/.sendensectl-disk-*/disk." + format)
		if err != nil || len(made) != 1 {
			t.Fatalf("%v, %v", made, err)
		}
		flipDisk(t, made[0])
		hubtest.Must(t, syscall.Kill(pid, syscall.SIGCONT))
		if code, exited := p.Exited(hubtest.Patience); !exited || code != 1 || !strings.Contains(p.Stderr(), to+" differs from the restore point") {
			t.Errorf("%s: %d, %v, %s", format, code, exited, p.Stderr())
		}
	}
	h.NoRestoreLeft(dir)
}

// flipDisk flips a bit of an image within the data of the disk, of which the first half is random.
func flipDisk(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	hubtest.Must(t, err)
	at := info.Size() * 3 / 4 // of an image that holds that half alone
	if filepath.Ext(path) == ".raw" {
		at /= 2
	}
	hubtest.FlipAt(t, path, at)
}

// TestRestoreDiskWithoutRoom: a target that is full is named, and nothing is left there.
func TestRestoreDiskWithoutRoom(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", 32<<20)
	id := h.Point("pgtest1", rpc.Full)
	dir := t.TempDir()
	hubtest.Run(t, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", dir)
	defer hubtest.Run(t, "umount", dir)
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		to := filepath.Join(dir, "disk")
		code, _, stderr := h.CTL("restore", "disk", id, "0", to, "--format", format)
		if code != 1 || !strings.Contains(stderr, "copying to "+to) || !strings.Contains(stderr, "No space left on device") {
			t.Errorf("%s: %d %s", format, code, stderr)
		}
		h.NoRestoreLeft(dir)
	}
}
