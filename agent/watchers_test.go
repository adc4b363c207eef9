package agent

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestSlowWatcher: a watcher that does not read harms nobody. What does not fit is dropped, and it is told how much.
func TestSlowWatcher(t *testing.T) {
	var all watchers
	slow := &watcher{events: make(chan Event, watchQueue)}
	all.add(slow)
	const extra = 100
	for range watchQueue + extra {
		all.tell(Event{Kind: EventState, Backup: record.Backup{ID: "b"}})
	}
	for range watchQueue {
		if e := <-slow.events; e.Kind != EventState {
			t.Fatalf("event %+v", e)
		}
	}
	all.tell(Event{Kind: EventState, Backup: record.Backup{ID: "b"}})
	if e := <-slow.events; e.Kind != EventDropped || e.Dropped != extra {
		t.Errorf("event %+v, want %d dropped", e, extra)
	}
	if e := <-slow.events; e.Kind != EventState {
		t.Errorf("event %+v", e)
	}
}

func TestWatcherWants(t *testing.T) {
	b := record.Backup{ID: "b", VM: record.VM{Name: "vm"}}
	for _, c := range []struct {
		query WatchQuery
		want  bool
	}{
		{WatchQuery{}, true},
		{WatchQuery{BackupID: "b"}, true},
		{WatchQuery{VMName: "vm"}, true},
		{WatchQuery{BackupID: "c"}, false},
		{WatchQuery{VMName: "other"}, false},
		{WatchQuery{BackupID: "b", VMName: "other"}, false},
	} {
		w := &watcher{query: c.query}
		if w.wants(b) != c.want {
			t.Errorf("%+v wants it: %v", c.query, !c.want)
		}
	}
}
