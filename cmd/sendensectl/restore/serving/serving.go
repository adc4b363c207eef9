// Package serving asks the agent to serve a restore point while a command copies from it. It also has the flag, help and error
// about damage, which all restores share.
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
	// copyLifetime is how long the agent serves the export if this program dies. While a client is connected, the restore does
	// not expire.
	copyLifetime = 10 * time.Minute
	// StopWithin limits the wait for the end of the export after the copy.
	StopWithin = time.Minute
	// startWithin limits the search for an interrupted start. The agent puts a start on record at once.
	startWithin = 30 * time.Second
)

// Start serves a restore point. The agent continues a start after its caller hangs up. So if the user interrupts, Start finds the
// restore by its request id, and stops it. Otherwise the restore point could not be deleted for minutes.
func Start(ctx context.Context, a *command.App, c *rpc.Client, r rpc.RestoreRequest) (rpc.Restore, error) {
	r.RequestID, r.LifetimeSeconds = "sendensectl-"+rand.Text(), int64(copyLifetime/time.Second)
	answered := make(chan answer, 1)
	go func() {
		restore, err := c.StartRestore(context.WithoutCancel(ctx), r)
		answered <- answer{restore, err}
	}()
	view := progress.NewFileGauge(a.Stderr, a.ProgressEvery, "digests", func(file string) string { return "comparing " + file + " with its digest" })
	var look <-chan time.Time // ticks when it is time to ask for the progress
	if r.VerifyDigests {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		look = tick.C
	}
	for {
		select {
		case got := <-answered:
			view.Close()
			return got.restore, got.err
		case <-ctx.Done():
			view.Close()
			return rpc.Restore{}, abandon(ctx, a, r.RequestID, answered)
		case <-look:
			if served, err := find(ctx, a, r.RequestID); err == nil && served.Progress != nil {
				view.Set(served.Progress.File, served.Progress.BytesDone, served.Progress.BytesTotal)
			}
		}
	}
}

// An answer is the agent's to a start.
type answer struct {
	restore rpc.Restore
	err     error
}

// abandon stops a restore whose start was interrupted, as soon as the agent has it on record. It returns ErrInterrupted.
func abandon(ctx context.Context, a *command.App, mark string, answered <-chan answer) error {
	for deadline := time.After(startWithin); ; {
		if found, err := find(ctx, a, mark); err == nil && found.RestoreID != "" {
			Stop(ctx, a, found.RestoreID)
			return exit.ErrInterrupted
		}
		select {
		case got := <-answered: // such as a refusal
			if got.err == nil {
				Stop(ctx, a, got.restore.RestoreID)
			}
			return exit.ErrInterrupted
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			fmt.Fprintln(a.Stderr, "the agent may still serve the disk; check with sendensectl restore list --active")
			return exit.ErrInterrupted
		}
	}
}

// find finds an active restore by its request id, on its own connection. It returns an empty one if there is none.
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

// Stop stops the restore, on its own connection: the agent may have restarted, and the user may have interrupted the command. If
// this fails, the restore expires.
func Stop(ctx context.Context, a *command.App, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopWithin)
	defer cancel()
	c, err := rpc.Dial(ctx, a.Socket)
	if err == nil {
		_, err = c.StopRestore(ctx, id)
		c.Close()
	}
	if err != nil {
		fmt.Fprintf(a.Stderr, "restore %s was not stopped; it expires in %s: %s\n", id, copyLifetime, human.Safe(err.Error()))
	}
}
