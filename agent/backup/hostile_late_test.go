package backup_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// Two records of one VM: the second backup destroys the first one's snapshot.
func TestTwoRecordsOfOneVM(t *testing.T) {
	w := agenttest.New(t)
	vm, _ := w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	first := w.StartBackup("vm")
	vm.Name = "vm (copy of the record)"
	if _, err := w.Agent.Inventory.Put(vm); err != nil {
		t.Logf("put: %v", err)
		return
	}
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm.Name, Type: record.Full, Repository: "main"})
	if err == nil {
		t.Errorf("two backups of %s run at once; snapshots now: %+v", vm.InventoryPath, w.SNA.State().Snapshots)
	}
	_ = first
}

// A backup is cancelled while its SBC is between two disks, so that no connection breaks: it lives on, and finds the next
// run's export of the same name on the same port.
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
	w.SNA.Hold("login") // the new SBC takes its time with vCenter, and has not removed the old snapshot yet
	second, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	if err != nil {
		t.Logf("the second start is refused: %v", err)
		return
	}
	w.SNA.Release("disk/1")
	time.Sleep(2 * time.Second)
	for _, r := range w.SNA.State().Runs {
		if r.JobID == first.ID && r.Disks[1].BytesWritten+r.Disks[1].BytesZeroed > 0 {
			t.Errorf("the SBC of the cancelled %s has written %d bytes into disk 1 of %s (port %d, export %s)",
				first.ID, r.Disks[1].BytesWritten, second.ID, second.Runs[1].Port, second.Runs[1].ExportName)
		}
	}
	now, _ := w.Agent.Records.Backup(second.ID)
	t.Logf("second: %s, seen %s, its own SBC has not connected yet", now.State, now.SeenAt)
}

// Equal requests at once: all must get the answer of the first.
func TestEqualRequestsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	agenttest.Must(t, err)
	addr := l.Addr().String()
	l.Close() // nobody is there: every start fails
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
