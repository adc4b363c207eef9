package agent_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// Two records of one VM: the second backup destroys the first one's snapshot.
func TestTwoRecordsOfOneVM(t *testing.T) {
	w := newWorld(t)
	vm, _ := w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	first := w.startBackup("vm")
	vm.Name = "vm (copy of the record)"
	if _, err := w.agent.PutVM(vm); err != nil {
		t.Logf("put: %v", err)
		return
	}
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm.Name, Type: record.Full, Repository: "main"})
	if err == nil {
		t.Errorf("two backups of %s run at once; snapshots now: %+v", vm.InventoryPath, w.sna.State().Snapshots)
	}
	_ = first
}

// A backup is cancelled while its SBC is between two disks, so that no connection breaks: it lives on, and finds the next
// run's export of the same name on the same port.
func TestCancelBetweenDisks(t *testing.T) {
	w := newWorld(t, func(c *config.Config, o *snatest.Options) {
		c.NBD.LastPort = c.NBD.FirstPort + 1
		o.SnapshotBeforeAnswer = false
	})
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("disk/1")
	first := w.startBackup("vm")
	run, err := w.sna.WaitHeld(t.Context(), first.ID, "disk/1")
	must(t, err)
	for run.OpenConnections > 0 {
		time.Sleep(10 * time.Millisecond)
		run, _ = w.sna.WaitHeld(t.Context(), first.ID, "disk/1")
	}
	_, err = w.agent.CancelBackup(t.Context(), first.ID)
	must(t, err)
	w.sna.Hold("login") // the new SBC takes its time with vCenter, and has not removed the old snapshot yet
	second, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	if err != nil {
		t.Logf("the second start is refused: %v", err)
		return
	}
	w.sna.Release("disk/1")
	time.Sleep(2 * time.Second)
	for _, r := range w.sna.State().Runs {
		if r.JobID == first.ID && r.Disks[1].BytesWritten+r.Disks[1].BytesZeroed > 0 {
			t.Errorf("the SBC of the cancelled %s has written %d bytes into disk 1 of %s (port %d, export %s)",
				first.ID, r.Disks[1].BytesWritten, second.ID, second.Runs[1].Port, second.Runs[1].ExportName)
		}
	}
	now, _ := w.agent.Backup(second.ID)
	t.Logf("second: %s, seen %s, its own SBC has not connected yet", now.State, now.SeenAt)
}

// Equal requests at once: all must get the answer of the first.
func TestEqualRequestsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	l.Close() // nobody is there: every start fails
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.URL = "http://" + addr })
	w.putVM("vm", 1<<20)
	for i := range 12 {
		req := agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main", RequestID: "r" + itoa(i+1)}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if b, err := w.agent.StartBackup(context.Background(), req); err == nil {
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
