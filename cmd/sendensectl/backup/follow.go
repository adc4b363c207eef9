package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/rpc"
)

// A follower watches backups, and reconnects if the agent stops answering.
type follower struct {
	app     *command.App
	request rpc.WatchRequest
	view    progress.View
	last    *rpc.Backup // the last record that was received
}

// follow watches until the backup has ended, or, for more than one, without end.
func (f *follower) follow(ctx context.Context, c *rpc.Client) error {
	for {
		err := f.watch(ctx, c)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !command.WentAway(err):
			return err
		}
		f.view.Say(f.app.AwayText())
		again, err := f.app.Reconnect(ctx)
		if err != nil {
			return err
		}
		f.view.Say("the agent is back")
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
		f.view.Show(e)
	}
	return nil
}

// interrupted is the error if the user stops watching one backup, or all if the id is "". The backups continue.
func interrupted(backupID string) error {
	if backupID == "" {
		return &exit.Error{Code: exit.OK, Err: errors.New("no longer watching; the backups continue")}
	}
	return &exit.Error{
		Code: exit.Failed, Err: fmt.Errorf("no longer watching; backup %s continues", backupID),
		Hint: fmt.Sprintf("to watch it again: sendensectl backup watch %[1]s; to stop it: sendensectl backup cancel %[1]s", backupID),
	}
}

// follow shows events until the backup has ended, and returns its last record.
func follow(ctx context.Context, a *command.App, c *rpc.Client, r rpc.WatchRequest, v progress.View) (rpc.Backup, error) {
	defer v.Close() // in every case: it restores the terminal
	f := &follower{app: a, request: r, view: v}
	err := f.follow(ctx, c)
	switch {
	case ctx.Err() != nil:
		return rpc.Backup{}, interrupted(r.BackupID)
	case err != nil && r.BackupID != "":
		return rpc.Backup{}, fmt.Errorf("watching %s: %w", r.BackupID, err)
	case err != nil:
		return rpc.Backup{}, fmt.Errorf("watching: %w", err)
	}
	return *f.last, nil
}
