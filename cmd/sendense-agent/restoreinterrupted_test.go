package main_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/rpc"
)

// reading starts a copy of files, and returns when its reader is starting. That takes longer than anything that a test does meanwhile.
func (h *hub) reading(id, to string) (p *process, unit string) {
	h.Helper()
	p = start(h.T, program("sendensectl"), "restore", "files", id, "0", "/etc", "--to", to)
	h.eventually("the reader is starting", func() bool {
		if _, exited := p.exited(0); exited {
			h.Fatalf("it ended: %s", p.stderr())
		}
		out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--state=activating", "sendense-nbd-*-files-*.service").Output()
		must(h.T, err)
		unit, _, _ = strings.Cut(string(out), " ")
		return unit != ""
	})
	return p, unit
}

// noRestoreLeft checks that of restores there is no unit, no socket, and nothing beside the targets.
func (h *hub) noRestoreLeft(targets string) {
	h.Helper()
	h.nothingServed()
	if left := exporters(h.T); len(left) > 0 {
		h.Errorf("left: %q", left)
	}
	for _, pattern := range []string{filepath.Dir(rpc.DefaultSocket) + "/files-*", targets + "/*", targets + "/.*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			h.Errorf("left: %q, %v", left, err)
		}
	}
}

// TestRestoreInterruptedAtItsStart: Ctrl-C while the reader of files starts, or hangs, or while a disk begins to be served, ends all that
// was begun, so that the restore point can be deleted. When the daemon is killed, the client is told, and the next daemon clears up.
func TestRestoreInterruptedAtItsStart(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	dir := t.TempDir()
	interrupt := func(p *process) {
		t.Helper()
		if code := p.end(syscall.SIGINT); code != 1 || !strings.Contains(p.stderr(), "interrupted") {
			t.Errorf("%d %s", code, p.stderr())
		}
		h.noRestoreLeft(dir)
	}
	p, _ := h.reading(id, dir)
	interrupt(p)

	p, unit := h.reading(id, dir)
	run(t, "systemctl", "kill", "--signal=STOP", unit) // hung
	interrupt(p)

	h.daemon.signal(syscall.SIGSTOP)
	p = start(t, program("sendensectl"), "restore", "disk", id, "0", filepath.Join(dir, "disk.raw"))
	h.eventually("the copy begins", func() bool {
		made, err := filepath.Glob(dir + "/.sendensectl-disk-*")
		return err == nil && len(made) > 0
	})
	p.signal(syscall.SIGINT)
	h.daemon.signal(syscall.SIGCONT)
	interrupt(p)

	p, _ = h.reading(id, dir)
	h.daemon.end(syscall.SIGKILL)
	if code, exited := p.exited(patient); !exited || code != 3 {
		t.Errorf("without the daemon: %d, %v, %s", code, exited, p.stderr())
	}
	h.boot()
	h.eventually("what was starting is gone", func() bool {
		list, err := h.dial().ListRestores(t.Context(), rpc.RestoreQuery{ActiveOnly: true})
		must(t, err)
		return len(list.Restores) == 0
	})
	h.noRestoreLeft(dir)
	h.steps(step{words("backup delete --yes " + id), 0, "deleted", ""})
}

// TestRestoreFilesWhereNothingCanBeMade: a member of the group who may not write to the target is told before any reader starts.
func TestRestoreFilesWhereNothingCanBeMade(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	group, err := user.LookupGroup("sendense")
	must(t, err)
	gid, err := strconv.Atoi(group.Gid)
	must(t, err)
	member := syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{uint32(gid)}}
	dir, err := os.MkdirTemp("/tmp", "root-only-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	for _, to := range []string{dir, dir + "/new"} {
		p := startAs(t, &member, sharedCopy(t, "sendensectl"), "restore", "files", id, "0", "/etc", "--to", to)
		code, exited := p.exited(patient)
		if !exited || code != 1 || !strings.Contains(p.stderr(), dir+" cannot be written: permission denied") {
			t.Errorf("%s: %d, %v, %s", to, code, exited, p.stderr())
		}
	}
	list, err := h.dial().ListRestores(t.Context(), rpc.RestoreQuery{})
	if err != nil || len(list.Restores) > 0 {
		t.Errorf("a restore was begun: %+v, %v", list.Restores, err)
	}
}
