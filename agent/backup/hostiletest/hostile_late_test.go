package hostiletest_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestTwoRecordsOfOneVM: a second record of a VM starts no second backup of it, which would destroy the snapshot of the first.
func TestTwoRecordsOfOneVM(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, _ := w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	first := w.StartBackup("vm")
	vm.Name = "vm (copy of the record)"
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm.Name, Type: record.Full, Repository: "main"})
	if e := agenttest.WantError(t, err, fault.BackupInProgress, ""); e.BackupID != first.ID {
		t.Errorf("the error names backup %q, want %s", e.BackupID, first.ID)
	}
}

// TestCancelBetweenDisks: a backup that is canceled while its client is between two disks, so that no connection breaks, cools down. The
// client is still running, and would find the next backup's export of the same name on the same port.
func TestCancelBetweenDisks(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
		c.NBD.LastPort = c.NBD.FirstPort + 1
		o.SnapshotBeforeAnswer = false
	})
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("disk/1")
	first := w.StartBackup("vm")
	run, err := w.SNA.WaitHeld(t.Context(), first.ID, "disk/1")
	agenttest.Must(t, err)
	for run.OpenConnections > 0 {
		time.Sleep(10 * time.Millisecond)
		run, _ = w.SNA.WaitHeld(t.Context(), first.ID, "disk/1")
	}
	_, err = w.Agent.Backups.Cancel(t.Context(), first.ID)
	agenttest.Must(t, err)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.CoolingDown, "")
	w.SNA.Release("disk/1")
}

// TestEqualRequestsAtOnce: of equal requests at the same time each gets the answer of the first.
func TestEqualRequestsAtOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	agenttest.Must(t, err)
	addr := l.Addr().String()
	l.Close() // the SNA is not reachable: every start fails
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.URL = "http://" + addr })
	w.PutVM("vm", 1<<20)
	for i := range 12 {
		req := backup.Request{VMName: "vm", Type: record.Full, Repository: "main", RequestID: "r" + agenttest.Itoa(i+1)}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if b, err := w.Agent.Backups.Start(context.Background(), req); err == nil {
					t.Errorf("request %s: answered with success and state %s, but the SNA is unreachable", req.RequestID, b.State)
				}
			})
		}
		group.Wait()
		if t.Failed() {
			return
		}
	}
}
