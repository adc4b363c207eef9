package server

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// maxWatches is the limit of open watches of one connection.
const maxWatches = 16

// A source of events: two methods of the agent.
type source struct {
	watch  func(ctx context.Context, q events.Query) (<-chan events.Event, error)
	last   func(q events.Query) (events.Event, error) // the current state of the one backup or restore that is watched
	notify string                                     // method of the notifications
}

// backups is the source of the events of backups.
func backups(watch func(context.Context, events.Query) (<-chan events.Event, error), get func(id string) (record.Backup, error)) source {
	return source{watch: watch, notify: rpc.NotifyBackupEvent, last: func(q events.Query) (events.Event, error) {
		b, err := get(q.BackupID)
		return events.Event{Kind: events.State, Backup: b}, err
	}}
}

// restores is the source of the events of restores.
func restores(watch func(context.Context, events.Query) (<-chan events.Event, error), get func(id string) (record.Restore, error)) source {
	return source{watch: watch, notify: rpc.NotifyRestoreEvent, last: func(q events.Query) (events.Event, error) {
		r, err := get(q.RestoreID)
		return events.Event{Kind: events.State, Restore: &r}, err
	}}
}

// watches are the watches of one connection.
type watches struct {
	mu    sync.Mutex
	last  int64
	open  map[int64]*watch
	ended bool           // the connection ends: no watch may begin
	work  sync.WaitGroup // one for each watch that pushes
}

// A watch pushes events to its connection.
type watch struct {
	id     int64
	cancel context.CancelFunc
	done   chan struct{} // closed after its last notification
}

// watchRow is the row of backup.watch.
func watchRow(from source) method {
	m := raw[rpc.WatchRequest](rpc.MethodBackupWatch, read, "push the events of backups as notifications, until backup.unwatch or the end of the connection",
		func(context.Context, json.RawMessage) (rpc.WatchRef, error) { return rpc.WatchRef{}, nil })
	m.handle = func(ctx context.Context, x *exchange, params json.RawMessage) (any, error) {
		var r rpc.WatchRequest
		if err := decodeNamed(params, &r); err != nil {
			return nil, err
		}
		return x.conn.watch(ctx, x, from, translate.WatchQuery(r))
	}
	m.notifies, m.pushes = from.notify, reflect.TypeFor[rpc.Event]()
	return m
}

// watchRestoresRow is the row of restore.watch.
func watchRestoresRow(from source) method {
	m := raw[rpc.RestoreWatchRequest](rpc.MethodRestoreWatch, read, "push the events of restores as notifications, until restore.unwatch or the end of the connection",
		func(context.Context, json.RawMessage) (rpc.WatchRef, error) { return rpc.WatchRef{}, nil })
	m.handle = func(ctx context.Context, x *exchange, params json.RawMessage) (any, error) {
		var r rpc.RestoreWatchRequest
		if err := decodeNamed(params, &r); err != nil {
			return nil, err
		}
		return x.conn.watch(ctx, x, from, events.Query{Restores: true, RestoreID: r.RestoreID, VMName: r.VMName})
	}
	m.notifies, m.pushes = from.notify, reflect.TypeFor[rpc.Event]()
	return m
}

// unwatchRow is the row of backup.unwatch or restore.unwatch: the watches of a connection have one numbering. To end a watch
// that does not exist is no error, because it may have ended by itself just now.
func unwatchRow(name string) method {
	m := raw[rpc.WatchRef](name, read, "end a watch of this connection; none of its notifications follows the answer",
		func(context.Context, json.RawMessage) (rpc.WatchRef, error) { return rpc.WatchRef{}, nil })
	m.handle = func(_ context.Context, x *exchange, params json.RawMessage) (any, error) {
		var r rpc.WatchRef
		if err := decodeNamed(params, &r); err != nil {
			return nil, err
		}
		x.conn.watches.end(r.WatchID)
		return r, nil
	}
	return m
}

func decodeNamed(params json.RawMessage, v any) error {
	object, wire := named(params)
	if wire != nil {
		return wire
	}
	return schema.Decode(object, v)
}

// watch begins a watch; its events follow the answer.
func (c *conn) watch(ctx context.Context, x *exchange, from source, q events.Query) (any, error) {
	if x.oneWay {
		return nil, rpc.NewError(rpc.ReasonInvalidRequest, "a watch: want a call, not a notification, because the answer names the watch")
	}
	ctx, cancel := context.WithCancel(ctx)
	w, err := c.watches.add(cancel)
	if err != nil {
		cancel()
		return nil, err
	}
	events, err := from.watch(ctx, q)
	if err != nil {
		c.watches.remove(w)
		return nil, err
	}
	x.then = func() {
		defer c.watches.remove(w)
		c.push(ctx, w, pushing{from: from, events: events, query: q})
	}
	return rpc.WatchRef{WatchID: w.id}, nil
}

// pushing is what a watch pushes.
type pushing struct {
	from   source
	events <-chan events.Event
	query  events.Query
}

// one says whether one backup or restore is watched.
func (p pushing) one() bool { return p.query.BackupID != "" || p.query.RestoreID != "" }

// over says whether an event is the end of its backup or restore.
func over(e events.Event) bool {
	switch {
	case e.Kind != events.State:
		return false
	case e.Restore != nil:
		return !e.Restore.State.Active()
	}
	return e.Backup.State.Terminal()
}

// push sends notifications until the watch ends, or the one backup or restore that is watched.
func (c *conn) push(ctx context.Context, w *watch, p pushing) {
	for e := range p.events {
		if ctx.Err() != nil {
			return
		}
		c.notify(p, translate.Event(w.id, e))
		if e.Kind == events.Dropped && p.one() { // the last state may be among the lost events
			last, err := p.from.last(p.query)
			if err != nil || !over(last) {
				continue
			}
			e = last
			c.notify(p, translate.Event(w.id, e))
		}
		if p.one() && over(e) {
			break
		}
	}
	if ctx.Err() == nil {
		c.notify(p, rpc.Event{WatchID: w.id, Kind: rpc.EventEnd})
	}
}

func (c *conn) notify(p pushing, e rpc.Event) {
	c.send(notification{Version: "2.0", Method: p.from.notify, Params: e})
}

func (ws *watches) add(cancel context.CancelFunc) (*watch, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.ended:
		return nil, rpc.NewError(rpc.ReasonShuttingDown, "the connection is closing: no watch can begin")
	case len(ws.open) >= maxWatches:
		return nil, rpc.NewError(rpc.ReasonTooManyWatches, fmt.Sprintf("the limit of %d watches on one connection is reached", maxWatches)).
			WithHint("end one with backup.unwatch, or watch without backup_id")
	}
	if ws.open == nil {
		ws.open = map[int64]*watch{}
	}
	ws.last++
	w := &watch{id: ws.last, cancel: cancel, done: make(chan struct{})}
	ws.open[w.id] = w
	ws.work.Add(1)
	return w, nil
}

// remove is called once for every watch that was added, at its end.
func (ws *watches) remove(w *watch) {
	w.cancel()
	ws.mu.Lock()
	delete(ws.open, w.id)
	ws.mu.Unlock()
	close(w.done)
	ws.work.Done()
}

// end ends a watch and returns when it does not push any more.
func (ws *watches) end(id int64) {
	ws.mu.Lock()
	w := ws.open[id]
	ws.mu.Unlock()
	if w != nil {
		w.cancel()
		<-w.done
	}
}

// stop ends all watches. No other one can begin.
func (ws *watches) stop() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.ended = true
	for _, w := range ws.open {
		w.cancel()
	}
}
