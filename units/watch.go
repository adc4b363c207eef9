package units

import (
	"context"
	"errors"
	"sync"
	"time"
)

// EventKind is the kind of an Event.
type EventKind string

const (
	// EventResync: events may have been lost. It is also the first event of every watch. Call List to
	// get the state.
	EventResync EventKind = "resync"
	// EventStarted: a pair was loaded, or its service was started again.
	EventStarted EventKind = "started"
	// EventEnded: the main process of a pair has ended. Unit says how.
	EventEnded EventKind = "ended"
	// EventRemoved: a pair was unloaded.
	EventRemoved EventKind = "removed"
)

// Event is a change of a pair.
type Event struct {
	Kind EventKind
	Name string // without suffix; empty for EventResync
	// Unit is the state after the change; only for EventStarted and EventEnded. For a pair that this Manager has started, it has the
	// fields that Start returns.
	Unit Unit
}

// watchQueue is the limit of events that wait for a slow consumer. Beyond it, one EventResync replaces
// them.
const watchQueue = 256

// Watch reports changes of the pairs whose name begins with prefix, until ctx ends or the Manager is
// closed; then it closes the channel. The first event is an EventResync. A consumer that is too slow
// gets an EventResync in place of the events that it missed.
func (m *Manager) Watch(ctx context.Context, prefix string) <-chan Event {
	w := &watcher{
		prefix: prefix, out: make(chan Event),
		wake:    make(chan struct{}, 1),
		queue:   []Event{{Kind: EventResync}},
		started: make(map[string]string),
		ended:   make(map[string]string),
		removed: make(map[string]bool),
	}
	if m.ctx.Err() != nil {
		close(w.out)
		return w.out
	}
	leave := m.join(w)
	ctx, stop := context.WithCancel(ctx)
	release := context.AfterFunc(m.ctx, stop)
	run := func() {
		defer close(w.out)
		defer release()
		defer stop()
		w.pump(ctx)
		leave()
	}
	m.work.Go(run)
	return w.out
}

// watcher is one consumer of events.
type watcher struct {
	prefix string
	out    chan Event
	wake   chan struct{} // buffered 1

	mu    sync.Mutex
	queue []Event
	// started and ended hold, by pair, the InvocationID whose start and end were reported.
	started, ended map[string]string
	// removed holds pairs whose removal was reported: each half sends a signal of its own.
	removed map[string]bool
}

// push queues an event, unless it was reported before. It never blocks.
func (w *watcher) push(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case EventStarted:
		if id, reported := w.started[e.Name]; reported && id == e.Unit.InvocationID {
			return
		}
		w.started[e.Name] = e.Unit.InvocationID
		delete(w.removed, e.Name)
	case EventEnded:
		if w.ended[e.Name] == e.Unit.InvocationID {
			return // one end changes several properties
		}
		w.ended[e.Name] = e.Unit.InvocationID
	case EventRemoved:
		if w.removed[e.Name] {
			return
		}
		if len(w.removed) >= 4*watchQueue { // most are old: no more signals come for them
			clear(w.removed)
		}
		w.removed[e.Name] = true
		delete(w.started, e.Name)
		delete(w.ended, e.Name)
	case EventResync:
		w.queue = w.queue[:0]
	}
	if len(w.queue) >= watchQueue {
		w.queue = append(w.queue[:0], Event{Kind: EventResync})
	} else {
		w.queue = append(w.queue, e)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) pump(ctx context.Context) {
	for {
		w.mu.Lock()
		var next Event
		var out chan Event
		if len(w.queue) > 0 {
			next, out = w.queue[0], w.out
			w.queue = w.queue[1:]
		}
		w.mu.Unlock()
		if out == nil {
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case out <- next:
		case <-ctx.Done():
			return
		}
	}
}

// resync tells all watchers and waiters that signals may have been lost.
func (m *Manager) resync() {
	m.tell(Event{Kind: EventResync})
	m.waiters.wake("")
}

// inspect reads a pair that has changed and reports its state to the watchers.
func (m *Manager) inspect(l *link, name string) {
	if !m.watched(name) {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
	defer cancel()
	m.beginInspection(name)
	u, err := l.get(ctx, name)
	if m.endInspection(name) {
		return
	}
	switch {
	case errors.Is(err, ErrNotFound):
		m.tell(Event{Kind: EventRemoved, Name: name})
	case err != nil:
		if m.ctx.Err() == nil && !isDisconnect(err) {
			m.log.Warn("unit changed but cannot be read", "unit", name, "error", err)
			m.resync()
		}
	case u.ActiveState == "" && (u.SocketState == "inactive" || u.SocketState == "failed"):
		// systemd unloads the halves one after the other: the socket is about to be unloaded too.
	default:
		m.tell(started(u))
	}
}

// started returns the event for a loaded pair: EventStarted, or EventEnded if it has ended since.
func started(u Unit) Event {
	if u.Ended() {
		return Event{Kind: EventEnded, Name: u.Name, Unit: u}
	}
	return Event{Kind: EventStarted, Name: u.Name, Unit: u}
}
