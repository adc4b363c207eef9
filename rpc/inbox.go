package rpc

import (
	"encoding/json"
	"sync"
)

// inboxSize is how many events of one watch are kept. When there are more, the oldest are lost.
const inboxSize = 256

// inboxes are those of one connection, by watch. An inbox is made at its first use: events may arrive before the caller has
// the answer that names their watch.
type inboxes struct {
	mu  sync.Mutex
	all map[int64]*inbox
}

func (is *inboxes) get(watchID int64) *inbox {
	is.mu.Lock()
	defer is.mu.Unlock()
	in := is.all[watchID]
	if in == nil {
		if is.all == nil {
			is.all = map[int64]*inbox{}
		}
		in = &inbox{ready: make(chan struct{}, 1)}
		is.all[watchID] = in
	}
	return in
}

func (is *inboxes) remove(watchID int64) {
	is.mu.Lock()
	defer is.mu.Unlock()
	delete(is.all, watchID)
}

// deliver takes a notification. What is not an event is dropped: a newer agent may send other notifications.
func (is *inboxes) deliver(method string, params json.RawMessage) {
	var e Event
	if (method == NotifyBackupEvent || method == NotifyRestoreEvent) && json.Unmarshal(params, &e) == nil {
		is.get(e.WatchID).put(e)
	}
}

// An inbox holds the events of one watch. It never makes the connection wait: one slow watcher would stop the answers to all
// other calls.
type inbox struct {
	mu      sync.Mutex
	events  []Event
	dropped int
	ready   chan struct{} // holds a token when there is something to take
}

func (in *inbox) put(e Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.events) >= inboxSize {
		in.events = in.events[1:]
		in.dropped++
	}
	in.events = append(in.events, e)
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// take returns the events that have arrived. If some were lost, the first one says how many.
func (in *inbox) take() []Event {
	in.mu.Lock()
	defer in.mu.Unlock()
	events := in.events
	if in.dropped > 0 {
		events = append([]Event{{WatchID: events[0].WatchID, Kind: EventDropped, Dropped: in.dropped}}, events...)
	}
	in.events, in.dropped = nil, 0
	return events
}
