package agent

import (
	"context"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// watchQueue is how many events a watcher may lag behind before it loses some.
const watchQueue = 256

// progressInterval is how often watchers are told how far backups have come.
const progressInterval = time.Second

// A watcher is one reader of events.
type watcher struct {
	query   WatchQuery
	events  chan Event
	dropped int // events lost since the last one that was taken; under watchers.mu
}

// hears says whether an event is for this watcher.
func (w *watcher) hears(e Event) bool {
	if h := e.Held; h != nil {
		return w.query.Prunes && (w.query.VMName == "" || w.query.VMName == h.VMName)
	}
	r := e.Restore
	if r == nil {
		return w.wants(e.Backup)
	}
	return w.query.Restores && (w.query.RestoreID == "" || w.query.RestoreID == r.ID) && (w.query.VMName == "" || w.query.VMName == r.VMName)
}

func (w *watcher) wants(b record.Backup) bool {
	return !w.query.Restores && (w.query.BackupID == "" || w.query.BackupID == b.ID) && (w.query.VMName == "" || w.query.VMName == b.VM.Name)
}

// send never waits: a slow watcher loses events and is told how many.
func (w *watcher) send(e Event) {
	if w.dropped > 0 {
		select {
		case w.events <- Event{Kind: EventDropped, Dropped: w.dropped}:
			w.dropped = 0
		default:
			w.dropped++
			return
		}
	}
	select {
	case w.events <- e:
	default:
		w.dropped++
	}
}

// watchers are all readers of events.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
}

// tell passes an event on to all who want it.
func (ws *watchers) tell(e Event) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if w.hears(e) {
			w.send(e)
		}
	}
}

// owed is what a watcher is to be told when it has caught up and events were lost since: nothing may follow that would
// tell it.
func (ws *watchers) owed(w *watcher) (Event, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.dropped == 0 || len(w.events) > 0 {
		return Event{}, false
	}
	e := Event{Kind: EventDropped, Dropped: w.dropped}
	w.dropped = 0
	return e, true
}

func (ws *watchers) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

// Watch tells of every change of the backups selected, and once a second how far those that run have come. First it
// tells how each active one, or the one asked for, stands now. The channel is closed when ctx or the agent ends. A reader
// that is too slow loses events, harms nobody, and is told how many it lost.
func (a *Agent) Watch(ctx context.Context, q WatchQuery) (<-chan Event, error) {
	w := &watcher{query: q, events: make(chan Event, watchQueue)}
	a.watchers.add(w) // before the present state is read, so that no change falls in between
	present, err := a.present(q)
	if err != nil {
		a.watchers.remove(w)
		return nil, err
	}
	out := make(chan Event)
	err = a.jobs.spawn(func() {
		defer close(out)
		defer a.watchers.remove(w)
		for _, e := range present {
			if !deliver(ctx, a.jobs.work, out, e) {
				return
			}
		}
		a.pump(ctx, w, out)
	})
	if err != nil {
		a.watchers.remove(w)
		return nil, err
	}
	return out, nil
}

// present is how what a watcher asks for stands now.
func (a *Agent) present(q WatchQuery) ([]Event, error) {
	if q.Restores {
		return a.presentRestores(q)
	}
	if q.BackupID != "" {
		b, err := a.Backup(q.BackupID)
		return []Event{{Kind: EventState, Backup: b}}, err
	}
	active, err := a.store.Active()
	if err != nil {
		return nil, AsError(err)
	}
	var list []Event
	for _, b := range active {
		if q.VMName == "" || q.VMName == b.VM.Name {
			list = append(list, Event{Kind: EventState, Backup: b})
		}
	}
	if !q.Prunes {
		return list, nil
	}
	held, err := a.HeldPrunes()
	for _, h := range held {
		if q.VMName == "" || q.VMName == h.VMName {
			list = append(list, Event{Kind: EventPruneHeld, Held: &h})
		}
	}
	return list, err
}

func (a *Agent) presentRestores(q WatchQuery) ([]Event, error) {
	if q.RestoreID != "" {
		r, err := a.Restore(q.RestoreID)
		return []Event{{Kind: EventState, Restore: &r}}, err
	}
	active, err := a.store.ActiveRestores()
	if err != nil {
		return nil, AsError(err)
	}
	var list []Event
	for _, r := range active {
		if q.VMName == "" || q.VMName == r.VMName {
			list = append(list, Event{Kind: EventState, Restore: &r})
		}
	}
	return list, nil
}

// pump passes a watcher's events on, and samples the progress of what it watches.
func (a *Agent) pump(ctx context.Context, w *watcher, out chan<- Event) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case e := <-w.events:
			if !deliver(ctx, a.jobs.work, out, e) {
				return
			}
		case <-tick.C:
			if e, lost := a.watchers.owed(w); lost && !deliver(ctx, a.jobs.work, out, e) {
				return
			}
			for _, e := range a.progressEvents(ctx, w) {
				if !deliver(ctx, a.jobs.work, out, e) {
					return
				}
			}
		case <-ctx.Done():
			return
		case <-a.jobs.work.Done():
			return
		}
	}
}

func deliver(ctx, work context.Context, out chan<- Event, e Event) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
	case <-work.Done():
	}
	return false
}

// progressEvents are the progress of every running backup that a watcher wants.
func (a *Agent) progressEvents(ctx context.Context, w *watcher) []Event {
	active, err := a.store.Active()
	if err != nil {
		a.log.Error("the database cannot be read", logError, err)
		return nil
	}
	var list []Event
	for _, b := range active {
		if !w.wants(b) || (b.State != record.Running && b.State != record.Unresolved) {
			continue
		}
		if p, err := a.progress(ctx, b); err == nil {
			list = append(list, Event{Kind: EventProgress, Backup: b, Progress: &p})
		}
	}
	return list
}
