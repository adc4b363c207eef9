package agent_test

import (
	"net"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestEveryChangeHasAnEvent: the last event of each record matches the record, whatever changed it. The second backup waits in the queue.
// Then other processes hold its first ports, so it gets new ones; so does the restore.
func TestEveryChangeHasAnEvent(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Limits.MaxBackups = 1
		c.NBD.FirstPort, c.NBD.LastPort = 10100, 10109
	})
	l := w.Listen()
	for _, port := range []string{"10102", "10104", "10107"} {
		foreign, err := net.Listen("tcp", "127.0.0.1:"+port)
		agenttest.Must(t, err)
		defer foreign.Close()
	}
	w.SNA.Hold("copy/0")
	var ids []string
	for _, vm := range []string{"first", "second"} {
		w.PutVM(vm, 1<<20, 1<<20)
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm, Type: record.Auto, Repository: "main", Queue: true})
		agenttest.Must(t, err)
		ids = append(ids, b.ID)
	}
	l.Knows(w)
	w.SNA.Release("copy/0")
	for _, id := range ids {
		if b := w.Wait(id); b.State != record.Completed {
			t.Fatalf("%+v", b.Failure)
		}
	}
	l.Knows(w)
	point, err := w.Store.Backup(ids[1])
	agenttest.Must(t, err)
	w.Verify(point, true)
	l.Knows(w)
	r := w.Restores.Stop(w.Restores.Serve(restore.Request{BackupID: ids[0], Writable: true}).ID)
	l.Knows(w)
	l.Exchanged(w, ids[1], 2, 2)
	l.Exchanged(w, r.ID, 2, 1)
	agenttest.Must(t, w.Delete(ids[0]))
	l.Knows(w)
}
