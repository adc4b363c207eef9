package restores_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// reading starts a copy of files, and returns when its reader is starting. That takes longer than anything that a test does meanwhile.
func reading(h *hubtest.Hub, id, to string) (p *hubtest.Process, unit string) {
	h.Helper()
	p = hubtest.Start(h.T, hubtest.Program("sendensectl"), "restore", "files", id, "0", "/etc", "--to", to)
	h.Eventually("the reader is starting", func() bool {
		if _, exited := p.Exited(0); exited {
			h.Fatalf("it ended: %s", p.Stderr())
		}
		out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--state=activating", "sendense-nbd-*-files-*.service").Output()
		hubtest.Must(h.T, err)
		unit, _, _ = strings.Cut(string(out), " ")
		return unit != ""
	})
	return p, unit
}

// TestRestoreInterruptedAtItsStart: Ctrl-C while the reader of files starts, or hangs, or while a disk begins to be served, ends all that
// was begun, so that the restore point can be deleted. When the daemon is killed, the client is told, and the next daemon clears up.
func TestRestoreInterruptedAtItsStart(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	dir := t.TempDir()
	interrupt := func(p *hubtest.Process) {
		t.Helper()
		if code := p.End(syscall.SIGINT); code != 1 || !strings.Contains(p.Stderr(), "interrupted") {
			t.Errorf("%d %s", code, p.Stderr())
		}
		h.NoRestoreLeft(dir)
	}
	p, _ := reading(h, id, dir)
	interrupt(p)

	p, unit := reading(h, id, dir)
	hubtest.Run(t, "systemctl", "kill", "--signal=STOP", unit) // hung
	interrupt(p)

	systemdtest.StopProcess(t, h.Daemon.Cmd.Process.Pid)
	p = hubtest.Start(t, hubtest.Program("sendensectl"), "restore", "disk", id, "0", filepath.Join(dir, "disk.raw"))
	h.Eventually("it waits for the daemon", func() bool { return hasSocket(p.Cmd.Process.Pid) })
	p.Signal(syscall.SIGINT)
	h.Daemon.Signal(syscall.SIGCONT)
	interrupt(p)

	p, _ = reading(h, id, dir)
	h.Daemon.End(syscall.SIGKILL)
	if code, exited := p.Exited(hubtest.Patience); !exited || code != 3 {
		t.Errorf("without the daemon: %d, %v, %s", code, exited, p.Stderr())
	}
	h.Boot()
	h.Eventually("what was starting is gone", func() bool {
		list, err := h.Dial().ListRestores(t.Context(), rpc.RestoreQuery{ActiveOnly: true})
		hubtest.Must(t, err)
		return len(list.Restores) == 0
	})
	h.NoRestoreLeft(dir)
	h.Steps(hubtest.Step(hubtest.Words("backup delete --yes "+id), 0, "deleted", ""))
}

// TestRestoreFilesWhereNothingCanBeMade: a member of the group who may not write to the target is told before any reader starts.
func TestRestoreFilesWhereNothingCanBeMade(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	group, err := user.LookupGroup("sendense")
	hubtest.Must(t, err)
	gid, err := strconv.Atoi(group.Gid)
	hubtest.Must(t, err)
	member := syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{uint32(gid)}}
	dir, err := os.MkdirTemp("/tmp", "root-only-")
	hubtest.Must(t, err)
	defer os.RemoveAll(dir)
	hubtest.Must(t, os.Chmod(dir, 0o755))
	for _, to := range []string{dir, dir + "/new"} {
		p := hubtest.StartAs(t, &member, hubtest.SharedCopy(t, "sendensectl"), "restore", "files", id, "0", "/etc", "--to", to)
		code, exited := p.Exited(hubtest.Patience)
		if !exited || code != 1 || !strings.Contains(p.Stderr(), dir+" cannot be written: permission denied") {
			t.Errorf("%s: %d, %v, %s", to, code, exited, p.Stderr())
		}
	}
	list, err := h.Dial().ListRestores(t.Context(), rpc.RestoreQuery{})
	if err != nil || len(list.Restores) > 0 {
		t.Errorf("a restore was begun: %+v, %v", list.Restores, err)
	}
}

// hasSocket reports whether a process has a socket open.
func hasSocket(pid int) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(fds, func(fd string) bool {
		target, err := os.Readlink(fd)
		return err == nil && strings.HasPrefix(target, "socket:")
	})
}
