// Package serving has a restore point served for as long as a command copies from it, and says what all of them say of damage.
package serving

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/rpc"
)

const (
	// copyLifetime is how long the export of a copy is served should this program vanish: while it is connected, the agent
	// does not count.
	copyLifetime = 10 * time.Minute
	// StopWithin bounds how long is waited for the end of the export after the copy.
	StopWithin = time.Minute
	// startWithin bounds how long is looked for a start that was interrupted: the agent puts it on record at once.
	startWithin = 30 * time.Second
)

// Start has a restore point served for as long as this program copies. The agent goes on with a start whose caller hangs up, so one
// that is interrupted is found by a mark of ours, and stopped: for minutes nobody could delete the restore point otherwise.
func Start(ctx context.Context, a *command.App, c *rpc.Client, r rpc.RestoreRequest) (rpc.Restore, error) {
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
	view := progress.NewFileGauge(a.Stderr, a.TellEvery, "digests", func(file string) string { return "comparing " + file + " with its digest" })
	var look <-chan time.Time // for how far the agent has come
	if r.VerifyDigests {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		look = tick.C
	}
	for waiting := true; waiting; {
		select {
		case got := <-answered:
			view.Close()
			return got.restore, got.err
		case <-ctx.Done():
			waiting = false
		case <-look:
			if served, err := find(ctx, a, r.RequestID); err == nil && served.Progress != nil {
				view.Set(served.Progress.File, served.Progress.BytesDone, served.Progress.BytesTotal)
			}
		}
	}
	view.Close()
	for deadline := time.After(startWithin); ; {
		if found, err := find(ctx, a, r.RequestID); err == nil && found.RestoreID != "" {
			return rpc.Restore{}, stopped(ctx, a, found.RestoreID)
		}
		select {
		case got := <-answered: // as that it was refused
			if got.err == nil {
				return rpc.Restore{}, stopped(ctx, a, got.restore.RestoreID)
			}
			return rpc.Restore{}, exit.ErrInterrupted
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			fmt.Fprintln(a.Stderr, "it is not known whether the agent serves the disk: see sendensectl restore list")
			return rpc.Restore{}, exit.ErrInterrupted
		}
	}
}

func stopped(ctx context.Context, a *command.App, id string) error {
	Stop(ctx, a, id)
	return exit.ErrInterrupted
}

// find finds an active restore by the mark of its request, on a connection of its own: an empty one if there is none.
func find(ctx context.Context, a *command.App, mark string) (rpc.Restore, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWithin)
	defer cancel()
	c, err := rpc.Dial(ctx, a.Socket)
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

// Stop ends the export on a connection of its own: the agent may have been restarted since, and the user may have
// interrupted us. If that fails, it ends by itself.
func Stop(ctx context.Context, a *command.App, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopWithin)
	defer cancel()
	c, err := rpc.Dial(ctx, a.Socket)
	if err == nil {
		_, err = c.StopRestore(ctx, id)
		c.Close()
	}
	if err != nil {
		fmt.Fprintf(a.Stderr, "%s is not stopped, and ends by itself in %s: %s\n", id, copyLifetime, human.Safe(err.Error()))
	}
}
