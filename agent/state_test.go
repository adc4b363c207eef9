package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestStateDirectoryFull: if the state directory is full, every error says so and names the directory and its free space, and the agent
// is not ready. When there is space again, everything works without a restart.
func TestStateDirectoryFull(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Agent.StateDirectory = filepath.Join(filepath.Dir(c.Agent.StateDirectory), "small")
		agenttest.MountTmpfs(t, c.Agent.StateDirectory, "size=8M")
	})
	w.PutVM("vm", 4<<20)
	agenttest.Must(t, w.Agent.Ready(t.Context()))
	directory := w.Config.Agent.StateDirectory
	ballast := agenttest.Fill(t, directory, 0)

	if err := w.Agent.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), directory) {
		t.Errorf("ready: %v", err)
	}
	refused := func(what string, err error) {
		t.Helper()
		var e *fault.Error
		if !errors.As(err, &e) || e.Reason != fault.StateUnwritable || !strings.Contains(e.Message, "no space left on device") ||
			!strings.Contains(e.Hint, directory) || !strings.Contains(e.Hint, "KiB are free") {
			t.Errorf("%s: %v: %+v", what, err, e)
		}
	}
	begun := len(w.SNA.State().Posts)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	refused("a backup, while the file still has pages for its record", err)
	if now := len(w.SNA.State().Posts); now != begun {
		t.Errorf("the SNA was asked %d times", now-begun)
	}
	err = nil
	for n := 0; err == nil; n++ { // until the free pages of the file are used up
		_, err = w.Agent.Inventory.Put(record.VM{
			Name: fmt.Sprint("other", n), InventoryPath: "/DC1/vm/" + strings.Repeat("x", 200),
			Disks: []record.Disk{{UnitNumber: 0, DeviceKey: 2000, CapacityBytes: 1 << 20}},
		})
	}
	refused("a VM", err)
	status := w.Agent.Status(t.Context()).State
	if status.Directory != directory || status.FreeBytes != 0 || !strings.Contains(status.Error, "no space left") || !strings.Contains(status.Hint, directory) {
		t.Errorf("status: %+v", status)
	}

	agenttest.Must(t, os.Remove(ballast))
	w.Eventually("it is ready when there is room again", func() bool { return w.Agent.Ready(t.Context()) == nil })
	b := w.StartBackup("vm")
	if b = w.Wait(b.ID); b.State != record.Completed {
		t.Errorf("%s: %+v", b.State, b.Failure)
	}
	if status := w.Agent.Status(t.Context()).State; status.Error != "" || status.FreeBytes == 0 {
		t.Errorf("status: %+v", status)
	}
}

// TestDamagedDatabaseIsNamed: the status names a damaged database that was set aside until it is removed.
func TestDamagedDatabaseIsNamed(t *testing.T) {
	w := agenttest.New(t)
	kept := filepath.Join(w.Config.Agent.StateDirectory, "agent.db.damaged-20260101T000000Z")
	agenttest.Must(t, os.WriteFile(kept, nil, 0o600))
	if got := w.Agent.Status(t.Context()).State.SetAside; len(got) != 1 || got[0] != kept {
		t.Errorf("%q", got)
	}
	agenttest.Must(t, os.Remove(kept))
	if got := w.Agent.Status(t.Context()).State.SetAside; len(got) != 0 {
		t.Errorf("%q", got)
	}
}
