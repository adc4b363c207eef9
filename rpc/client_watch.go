package rpc

import (
	"context"
	"iter"
	"time"

	"github.com/sendense/backup-agent/rpc/internal/stream"
)

// unwatchTimeout limits how long the end of a loop over a watch waits for the agent.
const unwatchTimeout = 2 * time.Second

// Watch returns the events of backups, on this connection and beside other calls. The watch begins with the loop over it:
// first come the current states of all active backups, or of the one asked for. The loop ends
//
//   - without an error when the one backup asked for has ended; the last event says so;
//   - with an [*UnreachableError] when the connection ends, for example at a restart of the agent: the backups continue, and
//     another Watch on a new connection begins with their states then;
//   - with an [*Error] when the agent refuses the watch, or of [ReasonShuttingDown] when the agent stops;
//   - with the context's error.
//
// A loop that is too slow loses the oldest events. An event of [EventDropped] says how many.
func (c *Client) Watch(ctx context.Context, r WatchRequest) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		c.watch(ctx, MethodBackupWatch, r, yield)
	}
}

// WatchRestores returns the events of restores, as [Client.Watch] those of backups.
func (c *Client) WatchRestores(ctx context.Context, r RestoreWatchRequest) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) { c.watch(ctx, MethodRestoreWatch, r, yield) }
}

func (c *Client) watch(ctx context.Context, method string, r any, yield func(Event, error) bool) {
	ref, err := beginWatch(c, ctx, method, r)
	if err != nil {
		yield(Event{}, err)
		return
	}
	defer c.inboxes.remove(ref.WatchID)
	over, err := events(c, ctx, c.inboxes.get(ref.WatchID), yield)
	if !over {
		unwatch(c, ctx, ref)
	}
	if err != nil {
		yield(Event{}, err)
	}
}

// events passes the events of a watch on. It returns whether the watch has ended at the agent, and an error when the loop ends
// for another reason than the end of what is watched, or of the caller's loop.
func events(c *Client, ctx context.Context, in *stream.Box[Event], yield func(Event, error) bool) (over bool, err error) {
	ended := false
	for closed := false; ; {
		for _, e := range take(in) {
			if e.Kind == EventEnd && ended {
				return true, nil
			}
			if e.Kind == EventEnd {
				return true, NewError(ReasonShuttingDown, "the agent is stopping")
			}
			switch {
			case e.Backup != nil:
				ended = e.Backup.State.Ended()
			case e.Restore != nil:
				ended = e.Restore.State.Ended()
			}
			if !yield(e, nil) {
				return false, nil
			}
		}
		if closed {
			return true, c.lost(ctx, nil, false)
		}
		select {
		case <-in.Ready():
		case <-c.stream.Done():
			closed = true // events that arrived before are still delivered
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// beginWatch asks for a watch. If the caller gave up meanwhile, the watch is ended again.
func beginWatch(c *Client, ctx context.Context, method string, r any) (WatchRef, error) {
	type answer struct {
		ref WatchRef
		err error
	}
	answers := make(chan answer)
	go func() {
		ref, err := call[WatchRef](context.WithoutCancel(ctx), c, method, r)
		select {
		case answers <- answer{ref, err}:
		case <-ctx.Done():
			if err == nil {
				unwatch(c, ctx, ref)
				c.inboxes.remove(ref.WatchID)
			}
		}
	}()
	select {
	case a := <-answers:
		return a.ref, a.err
	case <-ctx.Done():
		return WatchRef{}, ctx.Err()
	}
}

// unwatch ends a watch at the agent. If that fails the connection is gone, and the watch with it.
func unwatch(c *Client, ctx context.Context, ref WatchRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwatchTimeout)
	defer cancel()
	_ = c.Call(ctx, MethodBackupUnwatch, ref, nil)
}
