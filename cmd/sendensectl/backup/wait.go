package backup

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

// outcome is nil for a completed backup, else the reason why it is not.
func outcome(b rpc.Backup) error {
	if b.State == rpc.Completed {
		return nil
	}
	failed := ended(b)
	if b.Failure == nil {
		return errors.New(failed)
	}
	e := b.Failure.AsError()
	e.Message = failed + ": " + e.Message
	return e
}

func waitCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "wait BACKUP",
		Short: "Wait until a backup has ended, then show it",
		Long: `Wait until a backup has ended, then show it. The exit code is 0 if it is completed, else 1. Interrupting the command stops the
wait, not the backup.

` + reference.HelpActive,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveBackups),
		RunE: a.AskAbout(command.AnActiveBackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			return waitFor(ctx, a, c, args[0])
		}),
	}
}

// waitFor watches a backup until it has ended, and shows it. It fails unless the backup is completed.
func waitFor(ctx context.Context, a *command.App, c *rpc.Client, id string) error {
	b, err := follow(ctx, a, c, rpc.WatchRequest{BackupID: id}, progress.New(a.Stderr, a.ProgressEvery))
	if err != nil {
		return err
	}
	if err := a.Show(b, func(p *output.Printer) { printBackup(p, b) }); err != nil {
		return err
	}
	return outcome(b)
}

// ended says how a backup ended: "backup B failed".
func ended(b rpc.Backup) string {
	switch b.State {
	case rpc.Failed:
		return "backup " + b.BackupID + " failed"
	case rpc.Cancelled:
		return "backup " + b.BackupID + " was cancelled"
	}
	return "backup " + b.BackupID + " is " + string(b.State)
}
