package events

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestSlowWatcher: a watcher that does not read blocks nobody. It loses the events that do not fit, and is told how many.
func TestSlowWatcher(t *testing.T) {
	var all Watchers
	slow := &Watcher{Events: make(chan Event, WatchQueue)}
	all.Add(slow)
	const extra = 100
	for range WatchQueue + extra {
		all.Tell(Event{Kind: State, Backup: record.Backup{ID: "b"}})
	}
	for range WatchQueue {
		if e := <-slow.Events; e.Kind != State {
			t.Fatalf("event %+v", e)
		}
	}
	all.Tell(Event{Kind: State, Backup: record.Backup{ID: "b"}})
	if e := <-slow.Events; e.Kind != Dropped || e.Dropped != extra {
		t.Errorf("event %+v, want %d dropped", e, extra)
	}
	if e := <-slow.Events; e.Kind != State {
		t.Errorf("event %+v", e)
	}
}

func TestWatcherWants(t *testing.T) {
	b := record.Backup{ID: "b", VM: record.VM{Name: "vm"}}
	for _, c := range []struct {
		query Query
		want  bool
	}{
		{Query{}, true},
		{Query{BackupID: "b"}, true},
		{Query{VMName: "vm"}, true},
		{Query{BackupID: "c"}, false},
		{Query{VMName: "other"}, false},
		{Query{BackupID: "b", VMName: "other"}, false},
	} {
		w := &Watcher{Query: c.query}
		if w.Wants(b) != c.want {
			t.Errorf("%+v wants it: %v", c.query, !c.want)
		}
	}
}
