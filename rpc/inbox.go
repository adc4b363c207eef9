package rpc

import (
	"encoding/json"
	"sync"

	"github.com/sendense/backup-agent/rpc/internal/stream"
)

// inboxes are those of one connection, by watch. An inbox is made at its first use: events may arrive before the caller has
// the answer that names their watch.
type inboxes struct {
	mu  sync.Mutex
	all map[int64]*stream.Box[Event]
}

func (is *inboxes) get(watchID int64) *stream.Box[Event] {
	is.mu.Lock()
	defer is.mu.Unlock()
	in := is.all[watchID]
	if in == nil {
		if is.all == nil {
			is.all = map[int64]*stream.Box[Event]{}
		}
		in = stream.NewBox[Event]()
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
		is.get(e.WatchID).Put(e)
	}
}

// take returns the events that have arrived. If some were lost, the first one says how many.
func take(in *stream.Box[Event]) []Event {
	events, dropped := in.Take()
	if dropped > 0 {
		events = append([]Event{{WatchID: events[0].WatchID, Kind: EventDropped, Dropped: dropped}}, events...)
	}
	return events
}
