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
	view := &digestView{app: a}
	for waiting := true; waiting; {
		select {
		case got := <-answered:
			view.close()
			return got.restore, got.err
		case <-ctx.Done():
			waiting = false
		case <-view.next(r.VerifyDigests):
			if served, err := a.findServed(ctx, r.RequestID); err == nil {
				view.show(served.Progress)
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

// A digestView shows how far the agent's reading of the restore point has come.
type digestView struct {
	app   *app
	gauge gauge
	file  string
}

// next is when to look again; never, where nothing is read.
func (v *digestView) next(reading bool) <-chan time.Time {
	if !reading {
		return nil
	}
	return time.After(500 * time.Millisecond)
}

func (v *digestView) show(p *rpc.RestoreProgress) {
	if p == nil {
		return
	}
	if v.gauge == nil {
		v.gauge = v.app.newGauge("digests", p.BytesTotal)
	}
	if p.File != v.file {
		v.file = p.File
		v.gauge.say("comparing " + p.File + " with its digest")
	}
	v.gauge.set(float64(p.BytesDone) / float64(max(p.BytesTotal, 1)))
}

func (v *digestView) close() {
	if v.gauge != nil {
		v.gauge.close()
	}
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
