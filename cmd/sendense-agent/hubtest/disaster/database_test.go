package disaster_test

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
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
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
			h := hubtest.New(t, "[sna]\ncooldown = \"1s\"")
			sources := h.AddVM("Odd näme", hubtest.DiskSize, hubtest.DiskSize)
			first, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "Odd näme", BackupType: rpc.Full})
			hubtest.Must(t, err)
			h.Completes(first.BackupID, sources)
			running := h.Held("Odd näme", "copy/1")
			h.Daemon.End(syscall.SIGKILL)
			left := h.Harm(harm)
			h.Boot()
			keptAside(h, left, "the database is damaged")
			undoneAfterLoss(h, running)
			h.Release("copy/1")
			goesOn(h, first.BackupID, sources)
		})
	}
}

// TestDatabaseHeaderLost: one of the two header pages is zeroed, the ordinary damage of a page that is torn. The database is opened by
// the other one, what ran goes on, and the damaged file is kept.
func TestDatabaseHeaderLost(t *testing.T) {
	for page, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			h := hubtest.New(t, "[sna]\ncooldown = \"1s\"")
			sources := h.AddVM("Odd näme", hubtest.DiskSize, hubtest.DiskSize)
			running := h.Held("Odd näme", "copy/0")
			h.Daemon.End(syscall.SIGTERM) // not killed: a transaction that is cut short may have overwritten what the other page describes
			left := h.Harm(func(whole []byte) []byte {
				clear(whole[page*os.Getpagesize():][:os.Getpagesize()])
				return whole
			})
			h.Boot()
			keptAside(h, left, "the other one is used")
			h.Release("copy/0")
			h.Completes(running, sources)
			var state snatest.State
			hubtest.Must(t, h.Get("state", nil, &state))
			if n := state.PostsPerJob[running]; n != 1 {
				t.Errorf("the SNA was asked %d times", n)
			}
		})
	}
}

// keptAside looks that a damaged file is kept as it was, under a name that the log tells.
func keptAside(h *hubtest.Hub, left []byte, words string) {
	h.Helper()
	kept, err := filepath.Glob(filepath.Join(h.Dir, "state", "agent.db*"))
	hubtest.Must(h.T, err)
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
	hubtest.Must(h.T, err)
	if !bytes.Equal(text, left) {
		h.Errorf("%s is not the damaged file", kept[1])
	}
	if log := h.Daemon.Stderr(); !strings.Contains(log, kept[1]) || !strings.Contains(log, words) {
		h.Errorf("the log does not tell of %s:\n%s", kept[1], log)
	}
}

// undoneAfterLoss looks that the backup that was in mid copy ends as failed, with nothing left of it.
func undoneAfterLoss(h *hubtest.Hub, id string) {
	h.Helper()
	var b rpc.Backup
	h.Eventually("the lost backup is undone", func() (ended bool) {
		var err error
		b, err = h.Dial().GetBackup(h.Context(), id)
		hubtest.Must(h.T, err)
		return b.State.Ended()
	})
	if b.State != rpc.Failed || b.VMName != "Odd näme" || !strings.Contains(b.Failure.Message, "database was lost") {
		h.Errorf("it is %s, of %s: %+v", b.State, b.VMName, b.Failure)
	}
	if left := hubtest.Exporters(h.T); len(left) > 0 {
		h.Errorf("left: %q", left)
	}
	if _, err := os.Stat(b.Directory); !os.IsNotExist(err) {
		h.Errorf("%s is left behind: %v", b.Directory, err)
	}
	var state snatest.State
	hubtest.Must(h.T, h.Get("state", nil, &state))
	if n := state.PostsPerJob[id]; n != 1 {
		h.Errorf("the SNA was asked %d times", n)
	}
}

// goesOn looks that the next backup stands on the restore point that was there before.
func goesOn(h *hubtest.Hub, parent string, sources []string) {
	h.Helper()
	var next rpc.StartResponse
	h.Eventually("the VM has cooled down", func() bool {
		var err error
		next, err = h.Dial().StartBackup(h.Context(), rpc.StartRequest{VMName: "Odd näme", BackupType: rpc.Auto})
		if err != nil && !strings.Contains(err.Error(), "cool-down until") {
			h.Fatal(err)
		}
		return err == nil
	})
	h.Completes(next.BackupID, sources)
	b, err := h.Dial().GetBackup(h.Context(), next.BackupID)
	hubtest.Must(h.T, err)
	if b.ParentBackupID != parent {
		h.Errorf("the next backup stands on %q, not on %s", b.ParentBackupID, parent)
	}
}

// TestDatabaseOfNobody: on a new machine there is nothing to make a catalog of, and nothing to warn about.
func TestDatabaseOfNobody(t *testing.T) {
	h := hubtest.New(t)
	if log := h.Daemon.Stderr(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") || !strings.Contains(log, "new database") {
		t.Errorf("the log of a first start:\n%s", log)
	}
}

// TestForeignUnitAfterLoss: with no record to compare with, a unit that only looks like an exporter is left alone.
func TestForeignUnitAfterLoss(t *testing.T) {
	h := hubtest.New(t)
	h.Daemon.End(syscall.SIGTERM)
	const unit = "sendense-nbd-backup-other-1700000000-disk0-0123abcd.service"
	out, err := exec.Command("systemd-run", "--quiet", "--collect", "--slice=sendense-nbd.slice", "--unit="+unit, "sleep", "infinity").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.Harm(func([]byte) []byte { return nil })
	h.Boot()
	h.Eventually("it is left alone", func() bool {
		return strings.Contains(h.Daemon.Stderr(), "left alone") && strings.Contains(h.Daemon.Stderr(), "its command is not one of the agent's")
	})
	out, err = exec.Command("systemctl", "stop", unit).CombinedOutput() // it runs: there is something to stop
	if err != nil {
		t.Errorf("it was touched: %v: %s", err, out)
	}
}
