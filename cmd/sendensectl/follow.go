package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/rpc"
)

// A follower watches backups, and connects again when the agent went away.
type follower struct {
	app     *app
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
		f.view.say(f.app.away())
		again, err := f.app.reconnect(ctx)
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

// outcome is nil for a backup that is completed, and otherwise says why it is not.
func outcome(b rpc.Backup) error {
	if b.State == rpc.Completed {
		return nil
	}
	failed := fmt.Sprintf("backup %s is %s", b.BackupID, b.State)
	if b.Failure == nil {
		return errors.New(failed)
	}
	e := rpc.NewError(b.Failure.Reason, failed+": "+b.Failure.Message)
	e.Data.Hint = b.Failure.Hint
	e.Data.Unit, e.Data.Journal = b.Failure.Unit, b.Failure.Journal
	return e
}

// interrupted is the end of the watching of a backup, or of all of them, which nothing else has stopped at.
func interrupted(backupID string) error {
	if backupID == "" {
		return &exitError{code: exitOK, err: errors.New("no longer watching; the backups go on")}
	}
	return &exitError{
		code: exitFailed, err: fmt.Errorf("no longer watching; backup %s goes on", backupID),
		hint: fmt.Sprintf("to watch it again: sendensectl backup watch %[1]s; to stop it: sendensectl backup cancel %[1]s", backupID),
	}
}
