package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupWatch() *cobra.Command {
	var r rpc.WatchRequest
	c := &cobra.Command{
		Use:   "watch [BACKUP]",
		Short: "Show the progress of backups",
		Long: `Watch a backup until it has ended, and then exit with code 0 if it is completed and 1 if not; or watch all backups, or
those of one VM, until interrupted. Interrupting it stops the watching, not the backup. When the agent is restarted, the
watching goes on. With --output json every event is one line of JSON.`,
		Args: maybeOne, ValidArgsFunction: a.completeFirst(activeBackups),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.BackupID = args[0]
			}
			if r.BackupID != "" && (r.VMName != "" || r.Prunes) {
				return errors.New("backup watch: want a BACKUP, or --vm and --prunes, not both")
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			b, err := a.follow(ctx, c, r, a.watchView())
			if err != nil {
				return err
			}
			return outcome(b)
		}),
	}
	c.Flags().StringVar(&r.VMName, "vm", "", "only the backups of the VM of this `NAME`")
	c.Flags().BoolVar(&r.Prunes, "prunes", false, "also tell of daily prunes that are held, because they would remove too much at once")
	a.completeFlag(c, "vm", vmNames)
	return c
}

func (a *app) backupWait() *cobra.Command {
	return &cobra.Command{
		Use:   "wait BACKUP",
		Short: "Wait until a backup has ended, and show it",
		Long: `Wait until a backup has ended and show it. The exit code is 0 if it is completed, and 1 if not. Interrupting it stops the
waiting, not the backup.`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(activeBackups),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			return a.waitFor(ctx, c, args[0])
		}),
	}
}

// waitFor watches a backup until it has ended and shows it. Anything but completed is an error.
func (a *app) waitFor(ctx context.Context, c *rpc.Client, id string) error {
	b, err := a.follow(ctx, c, rpc.WatchRequest{BackupID: id}, newView(a.stderr, a.tellEvery))
	if err != nil {
		return err
	}
	if err := a.show(b, func(p *printer) { printBackup(p, b) }); err != nil {
		return err
	}
	return outcome(b)
}

// follow returns the last record of the one backup that is watched.
func (a *app) follow(ctx context.Context, c *rpc.Client, r rpc.WatchRequest, v view) (rpc.Backup, error) {
	defer v.close() // whatever happens: it gives the terminal back
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

// watchView is the view of a command that does nothing but watch.
func (a *app) watchView() view {
	if a.output == outputJSON {
		return newJSONLines(a.stdout, a.stderr)
	}
	return newView(a.stderr, a.tellEvery)
}
