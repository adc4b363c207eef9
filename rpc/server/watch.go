package server

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// maxWatches is how many watches one connection may have open.
const maxWatches = 16

// A source is where events come from: two methods of the agent.
type source struct {
	watch  func(ctx context.Context, q agent.WatchQuery) (<-chan agent.Event, error)
	backup func(id string) (backup.Backup, error)
}

// watches are the watches of one connection.
type watches struct {
	mu    sync.Mutex
	last  int64
	open  map[int64]*watch
	ended bool           // the connection is going: no watch may begin
	work  sync.WaitGroup // one for each watch that pushes
}

// A watch pushes events to the connection it was asked for on.
type watch struct {
	id     int64
	cancel context.CancelFunc
	done   chan struct{} // closed after its last notification
}

// watchRow is the row of backup.watch.
func watchRow(from source) method {
	m := raw[rpc.WatchRequest](rpc.MethodBackupWatch, read, "push what becomes of backups as notifications, until backup.unwatch or the end of the connection",
		func(context.Context, json.RawMessage) (rpc.WatchRef, error) { return rpc.WatchRef{}, nil })
	m.handle = func(ctx context.Context, x *exchange, params json.RawMessage) (any, error) {
		var r rpc.WatchRequest
		if err := decodeNamed(params, &r); err != nil {
			return nil, err
		}
		return x.conn.watch(ctx, x, from, translate.WatchQuery(r))
	}
	m.notifies = rpc.NotifyBackupEvent
	return m
}

// unwatchRow is the row of backup.unwatch. A watch may have ended by itself just now, so to end one that is not there is
// no error.
func unwatchRow() method {
	m := raw[rpc.WatchRef](rpc.MethodBackupUnwatch, read, "end a watch of this connection; no notification of it follows the answer",
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
func (c *conn) watch(ctx context.Context, x *exchange, from source, q agent.WatchQuery) (any, error) {
	if x.oneWay {
		return nil, rpc.NewError(rpc.ReasonInvalidRequest, "backup.watch: want a call, not a notification: its answer names the watch")
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
		c.push(ctx, w, pushing{from: from, events: events, only: q.BackupID})
	}
	return rpc.WatchRef{WatchID: w.id}, nil
}

// pushing is what a watch pushes.
type pushing struct {
	from   source
	events <-chan agent.Event
	only   string // the one backup it is about; "" for more than one
}

// push sends notifications until the watch ends or the one backup that it is about.
func (c *conn) push(ctx context.Context, w *watch, p pushing) {
	for e := range p.events {
		if ctx.Err() != nil {
			return
		}
		c.notify(translate.Event(w.id, e))
		if e.Kind == agent.EventDropped && p.only != "" { // the last state may be what was lost
			b, err := p.from.backup(p.only)
			if err != nil || !b.State.Terminal() {
				continue
			}
			e = agent.Event{Kind: agent.EventState, Backup: b}
			c.notify(translate.Event(w.id, e))
		}
		if p.only != "" && e.Kind == agent.EventState && e.Backup.State.Terminal() {
			break
		}
	}
	if ctx.Err() == nil {
		c.notify(rpc.Event{WatchID: w.id, Kind: rpc.EventEnd})
	}
}

func (c *conn) notify(e rpc.Event) {
	c.send(notification{Version: "2.0", Method: rpc.NotifyBackupEvent, Params: e})
}

func (ws *watches) add(cancel context.CancelFunc) (*watch, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.ended:
		return nil, rpc.NewError(rpc.ReasonShuttingDown, "the connection is being closed: no watch can begin")
	case len(ws.open) >= maxWatches:
		return nil, rpc.NewError(rpc.ReasonTooManyWatches, fmt.Sprintf("%d watches are open on this connection already", maxWatches)).
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

// remove is the end of every watch that was added.
func (ws *watches) remove(w *watch) {
	w.cancel()
	ws.mu.Lock()
	delete(ws.open, w.id)
	ws.mu.Unlock()
	close(w.done)
	ws.work.Done()
}

// end ends a watch and returns when it pushes no more.
func (ws *watches) end(id int64) {
	ws.mu.Lock()
	w := ws.open[id]
	ws.mu.Unlock()
	if w != nil {
		w.cancel()
		<-w.done
	}
}

// stop ends all watches, and lets none begin.
func (ws *watches) stop() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.ended = true
	for _, w := range ws.open {
		w.cancel()
	}
}
