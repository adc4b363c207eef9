package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

var (
	reconnectEvery = time.Second     // between two attempts to reach an agent that went away
	reconnectFor   = 5 * time.Minute // for an agent that is being restarted or upgraded: backups go on without it
)

// A view shows what becomes of backups.
type view interface {
	show(e rpc.Event)
	say(line string) // something about the watching itself
	close()
}

// A follower watches backups, and connects again when the agent went away.
type follower struct {
	socket  string
	request rpc.WatchRequest
	view    view
	last    *rpc.Backup // the last record that was told of
}

// follow watches until the one backup asked for has ended, or for ever.
func (f *follower) follow(ctx context.Context, c *rpc.Client) error {
	for {
		err := f.watch(ctx, c)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !wentAway(err):
			return err
		}
		f.say()
		again, err := f.reconnect(ctx)
		if err != nil {
			return err
		}
		f.view.say("the agent is back")
		defer again.Close()
		c = again
	}
}

func (f *follower) watch(ctx context.Context, c *rpc.Client) error {
	for e, err := range c.Watch(ctx, f.request) {
		if err != nil {
			return err
		}
		if e.Backup != nil {
			f.last = e.Backup
		}
		f.view.show(e)
	}
	return nil
}

// wentAway says whether an error is one of an agent that may come back.
func wentAway(err error) bool {
	var lost *rpc.UnreachableError
	var refused *rpc.Error
	return errors.As(err, &lost) || errors.As(err, &refused) && refused.Data.Reason == rpc.ReasonShuttingDown
}

// reconnect returns a connection on which the agent answers.
func (f *follower) reconnect(ctx context.Context) (*rpc.Client, error) {
	for deadline := time.Now().Add(reconnectFor); ; {
		select {
		case <-time.After(reconnectEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c, err := f.dial(ctx)
		if err == nil || !wentAway(err) || time.Now().After(deadline) {
			return c, err
		}
	}
}

func (f *follower) dial(ctx context.Context) (*rpc.Client, error) {
	c, err := rpc.Dial(ctx, f.socket)
	if err != nil {
		return nil, err
	}
	if _, err := c.Status(ctx); err != nil { // systemd accepts connections for an agent that does not run yet
		c.Close()
		return nil, err
	}
	return c, nil
}

// outcome is nil for a backup that is completed, and otherwise says why it is not.
func outcome(b rpc.Backup) error {
	if b.State == rpc.Completed {
		return nil
	}
	failed := fmt.Sprintf("backup %s is %s", b.BackupID, b.State)
	if b.Failure == nil {
		return errors.New(failed)
	}
	e := b.Failure.AsError()
	e.Message = failed + ": " + e.Message
	return e
}

// An interruptedError says that somebody stopped the watching, and that nothing else has stopped.
type interruptedError struct {
	backupID string // "" for more than one
	what     string // "" for backups
	code     int
}

func (e *interruptedError) Error() string {
	if e.backupID == "" {
		return "no longer watching; the " + cmp.Or(e.what, "backups") + " go on"
	}
	return fmt.Sprintf("no longer watching; backup %s goes on", e.backupID)
}

func (e *interruptedError) hint() string {
	if e.backupID == "" {
		return ""
	}
	return fmt.Sprintf("to watch it again: sendensectl backup watch %[1]s; to stop it: sendensectl backup cancel %[1]s", e.backupID)
}
