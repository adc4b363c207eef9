package units

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// EventKind says what an Event is about.
type EventKind string

const (
	// EventResync: events may have been missed (it is also the first event of every watch). List to
	// learn the state.
	EventResync EventKind = "resync"
	// EventEnded: the main process of a pair has ended, in whatever way. Unit says how.
	EventEnded EventKind = "ended"
	// EventRemoved: a pair is not loaded any more.
	EventRemoved EventKind = "removed"
)

// Event is a change of a pair.
type Event struct {
	Kind EventKind
	Name string // without suffix; empty for EventResync
	Unit Unit   // state after the change; only with EventEnded
}

// watchQueue is how many events wait for a slow consumer before they are replaced by one
// EventResync.
const watchQueue = 256

// Watch reports changes of the pairs whose name begins with prefix, until ctx ends or the Manager is
// closed; then the channel is closed. The first event is an EventResync. A consumer that falls
// behind loses events, never the fact that it lost some: it gets an EventResync instead.
func (m *Manager) Watch(ctx context.Context, prefix string) <-chan Event {
	w := &watcher{
		prefix: prefix, out: make(chan Event),
		wake:    make(chan struct{}, 1),
		queue:   []Event{{Kind: EventResync}},
		ended:   make(map[string]string),
		removed: make(map[string]bool),
	}
	if m.life.Err() != nil {
		close(w.out)
		return w.out
	}
	m.mu.Lock()
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	release := context.AfterFunc(m.life, stop)
	run := func() {
		defer close(w.out)
		defer release()
		defer stop()
		w.pump(ctx)
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
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
	ended map[string]string // pair to the InvocationID whose end was told
	// removed holds pairs whose removal was told; each half sends a signal of its own.
	removed map[string]bool
}

// push queues an event, without ever waiting.
func (w *watcher) push(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case EventEnded:
		if w.ended[e.Name] == e.Unit.InvocationID {
			return // several properties change with one end
		}
		w.ended[e.Name] = e.Unit.InvocationID
	case EventRemoved:
		if w.removed[e.Name] {
			return
		}
		if len(w.removed) >= 4*watchQueue { // long ago: no more signals are due
			clear(w.removed)
		}
		w.removed[e.Name] = true
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

// tell queues an event for every watcher of its pair.
func (m *Manager) tell(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		if e.Kind == EventResync || strings.HasPrefix(e.Name, w.prefix) {
			w.push(e)
		}
	}
}

// resync is called when signals may have been lost.
func (m *Manager) resync() {
	m.tell(Event{Kind: EventResync})
	m.wake("")
}

// watched reports whether anybody wants to know of a pair.
func (m *Manager) watched(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		if strings.HasPrefix(name, w.prefix) {
			return true
		}
	}
	return false
}

// inspect reads a pair that has changed and tells the watchers what became of it.
func (m *Manager) inspect(l *link, name string) {
	if !m.watched(name) {
		return
	}
	ctx, cancel := context.WithTimeout(m.life, 10*time.Second)
	defer cancel()
	u, err := l.get(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		m.tell(Event{Kind: EventRemoved, Name: name})
	case err != nil:
		if m.life.Err() == nil && !isDisconnect(err) {
			m.log.Warn("unit changed but cannot be read", "unit", name, "error", err)
			m.resync()
		}
	case u.Ended():
		m.tell(Event{Kind: EventEnded, Name: name, Unit: u})
	}
}
