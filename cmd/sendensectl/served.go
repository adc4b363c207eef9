package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

const (
	// copyLifetime is how long the export of a copy is served should this program vanish: while it is connected, the agent
	// does not count.
	copyLifetime = 10 * time.Minute
	// stopWithin bounds how long is waited for the end of the export after the copy.
	stopWithin = time.Minute
	// startWithin bounds how long is looked for a start that was interrupted: the agent puts it on record at once.
	startWithin = 30 * time.Second
)

// serve has a restore point served for as long as this program copies. The agent goes on with a start whose caller hangs up, so one
// that is interrupted is found by a mark of ours, and stopped: for minutes nobody could delete the restore point otherwise.
func (a *app) serve(ctx context.Context, c *rpc.Client, r rpc.RestoreRequest) (rpc.Restore, error) {
	type answer struct {
		restore rpc.Restore
		err     error
	}
	r.RequestID, r.LifetimeSeconds = "sendensectl-"+rand.Text(), int64(copyLifetime/time.Second)
	answered := make(chan answer, 1)
	go func() {
		restore, err := c.StartRestore(context.WithoutCancel(ctx), r)
		answered <- answer{restore, err}
	}()
	view := newFileGauge(a.stderr, a.tellEvery, "digests", func(file string) string { return "comparing " + file + " with its digest" })
	var look <-chan time.Time // for how far the agent has come
	if r.VerifyDigests {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		look = tick.C
	}
	for waiting := true; waiting; {
		select {
		case got := <-answered:
			view.close()
			return got.restore, got.err
		case <-ctx.Done():
			waiting = false
		case <-look:
			if served, err := a.findServed(ctx, r.RequestID); err == nil && served.Progress != nil {
				view.set(served.Progress.File, served.Progress.BytesDone, served.Progress.BytesTotal)
			}
		}
	}
	view.close()
	for deadline := time.After(startWithin); ; {
		if found, err := a.findServed(ctx, r.RequestID); err == nil && found.RestoreID != "" {
			return rpc.Restore{}, a.stopped(ctx, found.RestoreID)
		}
		select {
		case got := <-answered: // as that it was refused
			if got.err == nil {
				return rpc.Restore{}, a.stopped(ctx, got.restore.RestoreID)
			}
			return rpc.Restore{}, errInterrupted
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			fmt.Fprintln(a.stderr, "it is not known whether the agent serves the disk: see sendensectl restore list")
			return rpc.Restore{}, errInterrupted
		}
	}
}

func (a *app) stopped(ctx context.Context, id string) error {
	a.endServing(ctx, id)
	return errInterrupted
}

// findServed finds an active restore by the mark of its request, on a connection of its own: an empty one if there is none.
func (a *app) findServed(ctx context.Context, mark string) (rpc.Restore, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWithin)
	defer cancel()
	c, err := rpc.Dial(ctx, a.socket)
	if err != nil {
		return rpc.Restore{}, err
	}
	defer c.Close()
	list, err := c.ListRestores(ctx, rpc.RestoreQuery{ActiveOnly: true})
	for _, r := range list.Restores {
		if r.RequestID == mark {
			return r, err
		}
	}
	return rpc.Restore{}, err
}

// endServing ends the export on a connection of its own: the agent may have been restarted since, and the user may have
// interrupted us. If that fails, it ends by itself.
func (a *app) endServing(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	c, err := rpc.Dial(ctx, a.socket)
	if err == nil {
		_, err = c.StopRestore(ctx, id)
		c.Close()
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "%s is not stopped, and ends by itself in %s: %s\n", id, copyLifetime, safe(err.Error()))
	}
}
