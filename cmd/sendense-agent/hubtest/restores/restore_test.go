package restores_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestRestoreDisk: a whole disk comes out of a chain, in every format, and no target is touched before it is whole.
func TestRestoreDisk(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	h.Point("pgtest1", rpc.Full)
	id := h.Point("pgtest1", rpc.Incremental)
	dir := t.TempDir()
	for i, format := range []string{"raw", "qcow2", "vmdk"} {
		file := filepath.Join(dir, "disk:1."+format) // QEMU would take "disk" for a protocol
		h.Steps(hubtest.Step([]string{"restore", "disk", id, fmt.Sprint(i % 2), file, "--format", format}, 0, "restored to "+file, "disk "+fmt.Sprint(i%2)+": comparing"))
		hubtest.SameDisk(t, sources[i%2], file, format)
	}
	longest := filepath.Join(dir, strings.Repeat("n", 255))
	h.Steps(hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+longest), 0, "restored", "comparing"))
	kept := filepath.Join(dir, "kept")
	hubtest.Must(t, os.WriteFile(kept, []byte("mine"), 0o600))
	h.Steps(
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+kept), 1, "", "not empty"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+dir), 1, "", "want a file or a block device"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 /dev/null"), 1, "", "want a file or a block device"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 7 "+dir+"/x"), 1, "", "has no disk 7"),
		hubtest.Step(hubtest.Words("restore disk nosuch 0 "+dir+"/x"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+dir+"/no/x"), 1, "", "no such file"),
	)
	if text, err := os.ReadFile(kept); err != nil || string(text) != "mine" {
		t.Errorf("a refused target holds %q, %v", text, err)
	}
	h.Steps(hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+kept+" --force --no-verify"), 0, "not read back", "copying"))
	hubtest.SameDisk(t, sources[0], kept, "raw")
	h.NothingServed()
	entries, err := os.ReadDir(dir)
	hubtest.Must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "x" {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

// TestRestoreDiskToDevice: a device that is in use, holds data or is too small is not written to.
func TestRestoreDiskToDevice(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	large, small := loop(t, 2*hubtest.DiskSize), loop(t, hubtest.DiskSize/2)
	h.Steps(
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+small), 1, "", "choose a larger device"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+large+" --format qcow2"), 1, "", "only --format raw"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+large), 0, "compared with the restore point", "comparing"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+large), 1, "", "holds data"),
		hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+large+" --force"), 0, "compared with the restore point", "comparing"),
	)
	out, err := exec.Command("cmp", "-n", fmt.Sprint(hubtest.DiskSize), sources[0], large).CombinedOutput()
	if err != nil {
		t.Errorf("cmp: %s", out)
	}
	hubtest.Run(t, "mkfs.ext4", "-q", "-F", small)
	mount := t.TempDir()
	hubtest.Run(t, "mount", small, mount)
	defer hubtest.Run(t, "umount", mount)
	h.Steps(hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+small), 1, "", "is in use"))
	h.NothingServed()
}

// loop makes a block device of a file.
func loop(t *testing.T, size int64) string {
	t.Helper()
	hubtest.LoopNodes(t)
	file := filepath.Join(t.TempDir(), "device")
	hubtest.Must(t, os.WriteFile(file, nil, 0o600))
	hubtest.Must(t, os.Truncate(file, size))
	device := strings.TrimSpace(hubtest.Run(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { hubtest.Run(t, "losetup", "--detach", device) })
	return device
}

// TestRestoreCommands: a restore is started, listed, shown, survives the daemon, is stopped.
func TestRestoreCommands(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	code, stdout, stderr := h.CTL("restore", "start", id, "--disk", "1", "--writable", "--expires", "2h", "-o", "json")
	var r rpc.Restore
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || len(r.Disks) != 1 || r.State != rpc.RestoreServing {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	h.Steps(
		hubtest.Step(hubtest.Words("restore list --active"), 0, r.RestoreID, ""),
		hubtest.Step(hubtest.Words("restore show "+r.RestoreID), 0, r.Disks[0].NBDURL, ""),
		hubtest.Step(hubtest.Words("export list"), 0, r.RestoreID, ""),
		hubtest.Step(hubtest.Words("status"), 0, "restores:        1", ""),
		hubtest.Step(hubtest.Words("backup delete --yes "+id), 1, "", "being read by restore "+r.RestoreID),
		hubtest.Step(hubtest.Words("restore start nosuch"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("restore start "+id+" --expires 9999h"), 1, "", "at most 168h"),
		hubtest.Step(hubtest.Words("restore show nosuch"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("restore stop nosuch"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("restore stop "+r.RestoreID), 0, "has ended", ""),
		hubtest.Step(hubtest.Words("restore stop "+r.RestoreID), 0, "has ended", ""),
		hubtest.Step(hubtest.Words("restore list --active"), 0, "RESTORE", ""),
		hubtest.Step(hubtest.Words("backup delete --yes "+id), 0, "deleted", ""),
	)
}

// TestRestoreDiskInterrupted: Ctrl-C in the midst of the copying leaves neither a half file nor an export.
func TestRestoreDiskInterrupted(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", 96<<20)
	id := h.Point("pgtest1", rpc.Full)
	dir := t.TempDir()
	p := hubtest.Start(t, hubtest.Program("sendensectl"), "restore", "disk", id, "0", filepath.Join(dir, "disk.raw"))
	for stopped := false; !stopped; { // without a pause: qemu-img is done in a moment
		pid := hubtest.ChildOf(p.Cmd.Process.Pid)
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // before its exec its parent waits for it
		stopped = err == nil && string(name) == "qemu-img\n" && syscall.Kill(pid, syscall.SIGSTOP) == nil
		if _, exited := p.Exited(0); exited {
			t.Fatalf("it ended before it was interrupted: %s", p.Stderr())
		}
	}
	if code := p.End(syscall.SIGINT); code != 1 || !strings.Contains(p.Stderr(), "is unchanged") {
		t.Errorf("%d %s", code, p.Stderr())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	h.NothingServed()
}

// TestDatabaseLostWhileServing: nobody knows how long what is served was to live, and nothing is lost with it: it goes.
func TestDatabaseLostWhileServing(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	r, err := h.Dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id, Writable: true})
	hubtest.Must(t, err)
	h.Daemon.End(syscall.SIGKILL)
	h.Harm(func([]byte) []byte { return nil })
	h.Boot()
	if left := hubtest.Run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", r.Disks[0].Unit+".*"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if _, err := os.Stat(filepath.Dir(r.Directory)); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", r.Directory, err)
	}
	h.NothingServed()
	file := filepath.Join(t.TempDir(), "disk.raw")
	h.Steps(hubtest.Step(hubtest.Words("restore disk "+id+" 0 "+file), 0, "compared with the restore point", "comparing"))
	hubtest.SameDisk(t, sources[0], file, "raw")
}

// TestRestoreSurvivesTheDaemon: whoever reads goes on reading when the daemon is killed, and the next one knows the restore.
func TestRestoreSurvivesTheDaemon(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	r, err := h.Dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	hubtest.Must(t, err)
	h.Daemon.End(syscall.SIGKILL)
	hubtest.SameDisk(t, sources[0], r.Disks[0].NBDURL, "raw")
	h.Boot()
	hubtest.SameDisk(t, sources[0], r.Disks[0].NBDURL, "raw")
	h.Steps(
		hubtest.Step(hubtest.Words("restore show "+r.RestoreID), 0, "serving", ""),
		hubtest.Step(hubtest.Words("restore stop "+r.RestoreID), 0, "has ended", ""),
	)
	h.NothingServed()
}
