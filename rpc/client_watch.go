package rpc

import (
	"context"
	"iter"
	"time"
)

// unwatchTimeout bounds how long the end of a loop over a watch waits for the agent to know.
const unwatchTimeout = 2 * time.Second

// Watch tells what becomes of backups, on this connection and beside other calls. It begins when it is ranged over, with
// how each active backup, or the one asked for, stands now. The loop ends
//
//   - without an error when the one backup asked for has ended, which the last event says;
//   - with an [*UnreachableError] when the connection ends, as in a restart of the agent: what is watched goes on, and
//     another Watch on a new connection tells how it stands then;
//   - with an [*Error] when the agent refuses, or of [ReasonShuttingDown] when it stops;
//   - with the context's error.
//
// A loop that is too slow loses the oldest events and is told how many by one of [EventDropped].
func (c *Client) Watch(ctx context.Context, r WatchRequest) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		c.watch(ctx, MethodBackupWatch, r, yield)
	}
}

// WatchRestores tells what becomes of restores, in the manner of [Client.Watch].
func (c *Client) WatchRestores(ctx context.Context, r RestoreWatchRequest) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) { c.watch(ctx, MethodRestoreWatch, r, yield) }
}

func (c *Client) watch(ctx context.Context, method string, r any, yield func(Event, error) bool) {
	ref, err := c.beginWatch(ctx, method, r)
	if err != nil {
		yield(Event{}, err)
		return
	}
	defer c.ch.inboxes.remove(ref.WatchID)
	over, err := c.events(ctx, c.ch.inboxes.get(ref.WatchID), yield)
	if !over {
		c.unwatch(ctx, ref)
	}
	if err != nil {
		yield(Event{}, err)
	}
}

// events passes on the events of a watch. It returns whether the watch is over at the other end, and why the loop ends if
// that is not what the caller wanted.
func (c *Client) events(ctx context.Context, in *inbox, yield func(Event, error) bool) (over bool, err error) {
	ended := false
	for closed := false; ; {
		for _, e := range in.take() {
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
		case <-in.ready:
		case <-c.ch.done:
			closed = true // what came before it is still to be told
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// beginWatch asks for a watch. One that begins when the caller has given up is ended again.
func (c *Client) beginWatch(ctx context.Context, method string, r any) (WatchRef, error) {
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
				c.unwatch(ctx, ref)
				c.ch.inboxes.remove(ref.WatchID)
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

// unwatch tells the agent that nobody watches any more. When that fails the connection is gone, and the watch with it.
func (c *Client) unwatch(ctx context.Context, ref WatchRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwatchTimeout)
	defer cancel()
	_ = c.Call(ctx, MethodBackupUnwatch, ref, nil)
}
