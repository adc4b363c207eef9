package main_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// harms are ways in which a database is lost. Each gets the whole file and returns what is left of it, nil for nothing.
var harms = map[string]func(whole []byte) []byte{
	"empty":       func([]byte) []byte { return []byte{} },
	"truncated":   func(whole []byte) []byte { return whole[:len(whole)/2] },
	"no database": func([]byte) []byte { return []byte("#!/bin/sh\nexit 0\n") },
	"head is gone": func(whole []byte) []byte {
		return append(make([]byte, 2*os.Getpagesize()), whole[2*os.Getpagesize():]...)
	},
	"overwritten": overwritten,
	"not there":   func([]byte) []byte { return nil },
	"in one record": func(whole []byte) []byte {
		return bytes.ReplaceAll(whole, []byte(`"state":"completed"`), []byte(`"state":"complexed"`))
	},
}

// overwritten leaves the two pages that say where everything is, and noise in all others.
func overwritten(whole []byte) []byte {
	noise := bytes.Clone(whole)
	_, _ = rand.Read(noise[2*os.Getpagesize():])
	return noise
}

// TestDatabaseLost: the database is damaged or gone when the daemon comes back, and a backup is in mid copy. The file is
// set aside as it was, the restore points are in the catalog again, the backup is undone and its client sent away, and the
// next one stands on the restore point.
func TestDatabaseLost(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, "[sna]\ncooldown = \"1s\"")
			sources := h.addVM("Odd näme", diskSize, diskSize)
			first, err := h.dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "Odd näme", BackupType: rpc.Full})
			must(t, err)
			h.completes(first.BackupID, sources)
			running := h.held("Odd näme", "copy/1")
			h.daemon.end(syscall.SIGKILL)
			left := h.harm(harm)
			h.boot()
			h.keptAside(left, "the database is damaged")
			h.undoneAfterLoss(running)
			h.release("copy/1")
			h.goesOn(first.BackupID, sources)
		})
	}
}

// TestDatabaseHeaderLost: one of the two header pages is zeroed, the ordinary damage of a page that is torn. The database is opened by
// the other one, what ran goes on, and the damaged file is kept.
func TestDatabaseHeaderLost(t *testing.T) {
	for page, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, "[sna]\ncooldown = \"1s\"")
			sources := h.addVM("Odd näme", diskSize, diskSize)
			running := h.held("Odd näme", "copy/0")
			h.daemon.end(syscall.SIGTERM) // not killed: a transaction that is cut short may have overwritten what the other page describes
			left := h.harm(func(whole []byte) []byte {
				clear(whole[page*os.Getpagesize():][:os.Getpagesize()])
				return whole
			})
			h.boot()
			h.keptAside(left, "it is opened by the other one")
			h.release("copy/0")
			h.completes(running, sources)
			var state snatest.State
			must(t, h.get("state", nil, &state))
			if n := state.PostsPerJob[running]; n != 1 {
				t.Errorf("the SNA was asked %d times", n)
			}
		})
	}
}

// harm leaves of the database what f makes of it.
func (h *hub) harm(f func([]byte) []byte) []byte {
	h.Helper()
	path := filepath.Join(h.dir, "state", "agent.db")
	whole, err := os.ReadFile(path)
	must(h.T, err)
	left := f(bytes.Clone(whole))
	if bytes.Equal(left, whole) {
		h.Fatal("no harm is done")
	}
	if left == nil {
		must(h.T, os.Remove(path))
	} else {
		must(h.T, os.WriteFile(path, left, 0o600))
	}
	return left
}

// keptAside looks that a damaged file is kept as it was, under a name that the log tells.
func (h *hub) keptAside(left []byte, words string) {
	h.Helper()
	kept, err := filepath.Glob(filepath.Join(h.dir, "state", "*"))
	must(h.T, err)
	want := 1
	if left != nil {
		want = 2
	}
	if len(kept) != want {
		h.Fatalf("the state directory holds %q", kept)
	}
	if left == nil {
		return
	}
	text, err := os.ReadFile(kept[1])
	must(h.T, err)
	if !bytes.Equal(text, left) {
		h.Errorf("%s is not the damaged file", kept[1])
	}
	if log := h.daemon.stderr(); !strings.Contains(log, kept[1]) || !strings.Contains(log, words) {
		h.Errorf("the log does not tell of %s:\n%s", kept[1], log)
	}
}

// undoneAfterLoss looks that the backup that was in mid copy ends as failed, with nothing left of it.
func (h *hub) undoneAfterLoss(id string) {
	h.Helper()
	var b rpc.Backup
	h.eventually("the lost backup is undone", func() (ended bool) {
		var err error
		b, err = h.dial().GetBackup(h.Context(), id)
		must(h.T, err)
		return b.State.Ended()
	})
	if b.State != rpc.Failed || b.VMName != "Odd näme" || !strings.Contains(b.Failure.Message, "database was lost") {
		h.Errorf("it is %s, of %s: %+v", b.State, b.VMName, b.Failure)
	}
	if left := exporters(h.T); len(left) > 0 {
		h.Errorf("left: %q", left)
	}
	if _, err := os.Stat(b.Directory); !os.IsNotExist(err) {
		h.Errorf("%s is left behind: %v", b.Directory, err)
	}
	var state snatest.State
	must(h.T, h.get("state", nil, &state))
	if n := state.PostsPerJob[id]; n != 1 {
		h.Errorf("the SNA was asked %d times", n)
	}
}

// goesOn looks that the next backup stands on the restore point that was there before.
func (h *hub) goesOn(parent string, sources []string) {
	h.Helper()
	var next rpc.StartResponse
	h.eventually("the VM has cooled down", func() bool {
		var err error
		next, err = h.dial().StartBackup(h.Context(), rpc.StartRequest{VMName: "Odd näme", BackupType: rpc.Auto})
		if err != nil && !strings.Contains(err.Error(), "cool-down until") {
			h.Fatal(err)
		}
		return err == nil
	})
	h.completes(next.BackupID, sources)
	b, err := h.dial().GetBackup(h.Context(), next.BackupID)
	must(h.T, err)
	if b.ParentBackupID != parent {
		h.Errorf("the next backup stands on %q, not on %s", b.ParentBackupID, parent)
	}
}

// TestDatabaseOfNobody: on a new machine there is nothing to make a catalog of, and nothing to warn about.
func TestDatabaseOfNobody(t *testing.T) {
	h := newHub(t)
	if log := h.daemon.stderr(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") || !strings.Contains(log, "new database") {
		t.Errorf("the log of a first start:\n%s", log)
	}
}

// TestForeignUnitAfterLoss: with no record to compare with, a unit that only looks like an exporter is left alone.
func TestForeignUnitAfterLoss(t *testing.T) {
	h := newHub(t)
	h.daemon.end(syscall.SIGTERM)
	const unit = "sendense-nbd-backup-other-1700000000-disk0-0123abcd.service"
	out, err := exec.Command("systemd-run", "--quiet", "--collect", "--slice=sendense-nbd.slice", "--unit="+unit, "sleep", "infinity").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.harm(func([]byte) []byte { return nil })
	h.boot()
	h.eventually("it is left alone", func() bool {
		return strings.Contains(h.daemon.stderr(), "left alone") && strings.Contains(h.daemon.stderr(), "does not run what the agent runs")
	})
	out, err = exec.Command("systemctl", "stop", unit).CombinedOutput() // it runs: there is something to stop
	if err != nil {
		t.Errorf("it was touched: %v: %s", err, out)
	}
}
