package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// point makes a restore point of a VM and returns its id.
func (h *hub) point(vm string, kind rpc.BackupType) string {
	h.Helper()
	code, stdout, stderr := h.ctl("backup", "start", vm, "--type", string(kind), "--wait", "-o", "json")
	var b rpc.Backup
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != 0 {
		h.Fatalf("%d %s %s", code, stdout, stderr)
	}
	return b.BackupID
}

func sameDisk(t *testing.T, source, written, format string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", format, source, written).CombinedOutput(); err != nil {
		t.Errorf("%s is not what %s was: %s", written, source, out)
	}
}

// TestRestoreDisk: a whole disk comes out of a chain, in every format, and no target is touched before it is whole.
func TestRestoreDisk(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize, diskSize)
	h.point("pgtest1", rpc.Full)
	id := h.point("pgtest1", rpc.Incremental)
	dir := t.TempDir()
	for i, format := range []string{"raw", "qcow2", "vmdk"} {
		file := filepath.Join(dir, "disk:1."+format) // QEMU would take "disk" for a protocol
		h.steps(step{[]string{"restore", "disk", id, fmt.Sprint(i % 2), file, "--format", format}, 0, "restored to " + file, "disk " + fmt.Sprint(i%2) + ": comparing"})
		sameDisk(t, sources[i%2], file, format)
	}
	longest := filepath.Join(dir, strings.Repeat("n", 255))
	h.steps(step{words("restore disk " + id + " 0 " + longest), 0, "restored", "comparing"})
	kept := filepath.Join(dir, "kept")
	must(t, os.WriteFile(kept, []byte("mine"), 0o600))
	h.steps(
		step{words("restore disk " + id + " 0 " + kept), 1, "", "not empty"},
		step{words("restore disk " + id + " 0 " + dir), 1, "", "want a file or a block device"},
		step{words("restore disk " + id + " 0 /dev/null"), 1, "", "want a file or a block device"},
		step{words("restore disk " + id + " 7 " + dir + "/x"), 1, "", "has no disk 7"},
		step{words("restore disk nosuch 0 " + dir + "/x"), 1, "", `"nosuch" is not on record`},
		step{words("restore disk " + id + " 0 " + dir + "/no/x"), 1, "", "no such file"},
	)
	if text, err := os.ReadFile(kept); err != nil || string(text) != "mine" {
		t.Errorf("a refused target holds %q, %v", text, err)
	}
	h.steps(step{words("restore disk " + id + " 0 " + kept + " --force --no-verify"), 0, "not read back", "copying"})
	sameDisk(t, sources[0], kept, "raw")
	h.nothingServed()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "x" {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

// nothingServed checks that every restore has ended.
func (h *hub) nothingServed() {
	h.Helper()
	list, err := h.dial().ListRestores(h.Context(), rpc.RestoreQuery{ActiveOnly: true})
	must(h.T, err)
	if len(list.Restores) > 0 {
		h.Errorf("still served: %+v", list.Restores)
	}
}

// TestRestoreDiskToDevice: a device that is in use, holds data or is too small is not written to.
func TestRestoreDiskToDevice(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	large, small := loop(t, 2*diskSize), loop(t, diskSize/2)
	h.steps(
		step{words("restore disk " + id + " 0 " + small), 1, "", "choose a larger device"},
		step{words("restore disk " + id + " 0 " + large + " --format qcow2"), 1, "", "only --format raw"},
		step{words("restore disk " + id + " 0 " + large), 0, "compared with the restore point", "comparing"},
		step{words("restore disk " + id + " 0 " + large), 1, "", "holds data"},
		step{words("restore disk " + id + " 0 " + large + " --force"), 0, "compared with the restore point", "comparing"},
	)
	out, err := exec.Command("cmp", "-n", fmt.Sprint(diskSize), sources[0], large).CombinedOutput()
	if err != nil {
		t.Errorf("cmp: %s", out)
	}
	run(t, "mkfs.ext4", "-q", "-F", small)
	mount := t.TempDir()
	run(t, "mount", small, mount)
	defer run(t, "umount", mount)
	h.steps(step{words("restore disk " + id + " 0 " + small), 1, "", "is in use"})
	h.nothingServed()
}

// loop makes a block device of a file.
func loop(t *testing.T, size int64) string {
	t.Helper()
	loopNodes(t)
	file := filepath.Join(t.TempDir(), "device")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, size))
	device := strings.TrimSpace(run(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { run(t, "losetup", "--detach", device) })
	return device
}

// loopNodes makes the nodes of loop devices.
func loopNodes(t *testing.T) {
	t.Helper()
	node(t, "/dev/loop-control", unix.S_IFCHR, unix.Mkdev(10, 237))
	for minor := range uint32(64) {
		node(t, fmt.Sprint("/dev/loop", minor), unix.S_IFBLK, unix.Mkdev(7, minor))
	}
}

// node makes a device node: the machine of the tests has a /dev of its own.
func node(t *testing.T, path string, kind uint32, device uint64) {
	t.Helper()
	if err := unix.Mknod(path, kind|0o600, int(device)); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// TestRestoreCommands: a restore is started, listed, shown, survives the daemon, is stopped.
func TestRestoreCommands(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize, diskSize)
	id := h.point("pgtest1", rpc.Full)
	code, stdout, stderr := h.ctl("restore", "start", id, "--disk", "1", "--writable", "--expires", "2h", "-o", "json")
	var r rpc.Restore
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || len(r.Disks) != 1 || r.State != rpc.RestoreServing {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	h.steps(
		step{words("restore list --active"), 0, r.RestoreID, ""},
		step{words("restore show " + r.RestoreID), 0, r.Disks[0].NBDURL, ""},
		step{words("export list"), 0, r.RestoreID, ""},
		step{words("status"), 0, "restores:        1", ""},
		step{words("backup delete --yes " + id), 1, "", "being read by restore " + r.RestoreID},
		step{words("restore start nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("restore start " + id + " --expires 9999h"), 1, "", "at most 168h"},
		step{words("restore show nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("restore stop nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("restore stop " + r.RestoreID), 0, "has ended", ""},
		step{words("restore stop " + r.RestoreID), 0, "has ended", ""},
		step{words("restore list --active"), 0, "RESTORE", ""},
		step{words("backup delete --yes " + id), 0, "deleted", ""},
	)
}

// TestRestoreDiskInterrupted: Ctrl-C in the midst of the copying leaves neither a half file nor an export.
func TestRestoreDiskInterrupted(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", 96<<20)
	id := h.point("pgtest1", rpc.Full)
	dir := t.TempDir()
	p := start(t, program("sendensectl"), "restore", "disk", id, "0", filepath.Join(dir, "disk.raw"))
	for stopped := false; !stopped; { // without a pause: qemu-img is done in a moment
		pid := childOf(p.cmd.Process.Pid)
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // before its exec its parent waits for it
		stopped = err == nil && string(name) == "qemu-img\n" && syscall.Kill(pid, syscall.SIGSTOP) == nil
		if _, exited := p.exited(0); exited {
			t.Fatalf("it ended before it was interrupted: %s", p.stderr())
		}
	}
	if code := p.end(syscall.SIGINT); code != 1 || !strings.Contains(p.stderr(), "is unchanged") {
		t.Errorf("%d %s", code, p.stderr())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	h.nothingServed()
}

// childOf is a process that another has started, 0 if there is none.
func childOf(pid int) (child int) {
	var text []byte
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		more, _ := os.ReadFile(list)
		text = append(text, more...)
	}
	_, _ = fmt.Sscan(string(text), &child)
	return child
}

// TestDatabaseLostWhileServing: nobody knows how long what is served was to live, and nothing is lost with it: it goes.
func TestDatabaseLostWhileServing(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	r, err := h.dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id, Writable: true})
	must(t, err)
	h.daemon.end(syscall.SIGKILL)
	h.harm(func([]byte) []byte { return nil })
	h.boot()
	if left := run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", r.Disks[0].Unit+".*"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if _, err := os.Stat(filepath.Dir(r.Directory)); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", r.Directory, err)
	}
	h.nothingServed()
	file := filepath.Join(t.TempDir(), "disk.raw")
	h.steps(step{words("restore disk " + id + " 0 " + file), 0, "compared with the restore point", "comparing"})
	sameDisk(t, sources[0], file, "raw")
}

// TestRestoreSurvivesTheDaemon: whoever reads goes on reading when the daemon is killed, and the next one knows the restore.
func TestRestoreSurvivesTheDaemon(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	r, err := h.dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	must(t, err)
	h.daemon.end(syscall.SIGKILL)
	sameDisk(t, sources[0], r.Disks[0].NBDURL, "raw")
	h.boot()
	sameDisk(t, sources[0], r.Disks[0].NBDURL, "raw")
	h.steps(
		step{words("restore show " + r.RestoreID), 0, "serving", ""},
		step{words("restore stop " + r.RestoreID), 0, "has ended", ""},
	)
	h.nothingServed()
}
