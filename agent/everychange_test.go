package agent_test

import (
	"net"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
)

// A listener keeps what the last event of each backup and restore told, and which ports the earlier ones told of.
type listener struct {
	mu       sync.Mutex
	backups  map[string]record.Backup
	restores map[string]record.Restore
	ports    map[string]map[uint16]bool // by id, while exports are made
}

func (w *world) listen() *listener {
	w.Helper()
	l := &listener{backups: map[string]record.Backup{}, restores: map[string]record.Restore{}, ports: map[string]map[uint16]bool{}}
	for _, q := range []agent.WatchQuery{{}, {Restores: true}} {
		events, err := w.agent.Watch(w.Context(), q)
		must(w.TB, err)
		go func() {
			for e := range events {
				l.hear(e)
			}
		}()
	}
	return l
}

func (l *listener) hear(e agent.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.Kind != agent.EventState:
	case e.Restore != nil:
		l.restores[e.Restore.ID] = *e.Restore
		if e.Restore.State == record.RestoreExporting {
			for _, d := range e.Restore.Disks {
				l.served(e.Restore.ID, d.Port)
			}
		}
	default:
		l.backups[e.Backup.ID] = e.Backup
		if e.Backup.State == record.Exporting && e.Backup.Targets == "" {
			for _, d := range e.Backup.Runs {
				l.served(e.Backup.ID, d.Port)
			}
		}
	}
}

func (l *listener) served(id string, port uint16) {
	if l.ports[id] == nil {
		l.ports[id] = map[uint16]bool{}
	}
	l.ports[id][port] = true
}

// exchanged fails the test unless the events told of each exchange of a port of so many disks.
func (l *listener) exchanged(t *testing.T, id string, disks, exchanges int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ports[id]) < disks+exchanges {
		t.Errorf("%s: the events tell of the ports %v, want %d exchanges", id, l.ports[id], exchanges)
	}
}

// knows waits until the last event of every backup and restore shows it as it is on record.
func (l *listener) knows(w *world) {
	w.Helper()
	diff := ""
	w.eventually("every change has an event", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		backups, _, err := w.store.Backups(store.Query{})
		must(w.TB, err)
		restores, err := w.store.Restores()
		must(w.TB, err)
		diff = ""
		for _, b := range backups {
			diff += cmp.Diff(b.UpdatedAt, l.backups[b.ID].UpdatedAt)
		}
		for _, r := range restores {
			diff += cmp.Diff(r.UpdatedAt, l.restores[r.ID].UpdatedAt)
		}
		return diff == ""
	})
	if diff != "" {
		w.Errorf("on record, and in the last event: %s", diff)
	}
}

// TestEveryChangeHasAnEvent: whatever changes a record, the last event of the record shows it as it is. The second backup waits in the
// queue and then gets new ports, as foreign processes hold its first ones; so does the restore.
func TestEveryChangeHasAnEvent(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Limits.MaxBackups = 1
		c.NBD.FirstPort, c.NBD.LastPort = 10100, 10109
	})
	l := w.listen()
	for _, port := range []string{"10102", "10104", "10107"} {
		foreign, err := net.Listen("tcp", "127.0.0.1:"+port)
		must(t, err)
		defer foreign.Close()
	}
	w.sna.Hold("copy/0")
	var ids []string
	for _, vm := range []string{"first", "second"} {
		w.putVM(vm, 1<<20, 1<<20)
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm, Type: record.Auto, Repository: "main", Queue: true})
		must(t, err)
		ids = append(ids, b.ID)
	}
	l.knows(w)
	w.sna.Release("copy/0")
	for _, id := range ids {
		if b := w.wait(id); b.State != record.Completed {
			t.Fatalf("%+v", b.Failure)
		}
	}
	l.knows(w)
	point, err := w.store.Backup(ids[1])
	must(t, err)
	w.verify(point, true)
	l.knows(w)
	r := w.stopRestore(w.serve(agent.RestoreRequest{BackupID: ids[0], Writable: true}).ID)
	l.knows(w)
	l.exchanged(t, ids[1], 2, 2)
	l.exchanged(t, r.ID, 2, 1)
	must(t, w.delete(ids[0]))
	l.knows(w)
}
