// Package events passes on what happens to backups, restores and policies to watchers. It stores nothing: a watcher that is too slow
// loses events and is told how many.
package events

import (
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// WatchQueue is how many events a watcher may lag behind before it loses events.
const WatchQueue = 256

// ProgressInterval is how often watchers get the progress of backups.
const ProgressInterval = time.Second

// A Watcher is one reader of events.
type Watcher struct {
	Query   Query
	Events  chan Event
	dropped int // events lost since the last one that was queued; under Watchers.mu
}

// hears reports whether an event is for this watcher.
func (w *Watcher) hears(e Event) bool {
	if h := e.Held; h != nil {
		return w.Query.Prunes && (w.Query.VMName == "" || w.Query.VMName == h.VMName)
	}
	if e.Pause != nil || e.Imported != nil {
		return w.Query.Pauses
	}
	r := e.Restore
	if r == nil {
		return w.Wants(e.Backup)
	}
	return w.Query.Restores && (w.Query.RestoreID == "" || w.Query.RestoreID == r.ID) && (w.Query.VMName == "" || w.Query.VMName == r.VMName)
}

// Wants reports whether the watcher selects a backup.
func (w *Watcher) Wants(b record.Backup) bool {
	return !w.Query.Restores && (w.Query.BackupID == "" || w.Query.BackupID == b.ID) && (w.Query.VMName == "" || w.Query.VMName == b.VM.Name)
}

// send queues an event and never blocks. If the queue is full, the event is lost, and the watcher is told so before the next one.
func (w *Watcher) send(e Event) {
	if w.dropped > 0 {
		select {
		case w.Events <- Event{Kind: Dropped, Dropped: w.dropped}:
			w.dropped = 0
		default:
			w.dropped++
			return
		}
	}
	select {
	case w.Events <- e:
	default:
		w.dropped++
	}
}

// Watchers are all readers of events. The zero value is ready for use.
type Watchers struct {
	mu  sync.Mutex
	all map[*Watcher]struct{}
}

// Tell sends an event to all watchers that select it. It never blocks.
func (ws *Watchers) Tell(e Event) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if w.hears(e) {
			w.send(e)
		}
	}
}

// Owed returns a Dropped event if the watcher has read its whole queue and lost events since. Without it, the watcher would learn of the
// loss only with the next event.
func (ws *Watchers) Owed(w *Watcher) (Event, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.dropped == 0 || len(w.Events) > 0 {
		return Event{}, false
	}
	e := Event{Kind: Dropped, Dropped: w.dropped}
	w.dropped = 0
	return e, true
}

// Add adds a watcher.
func (ws *Watchers) Add(w *Watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = map[*Watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
}

// Remove removes a watcher. Its channel stays open.
func (ws *Watchers) Remove(w *Watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}
