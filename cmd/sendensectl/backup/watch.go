package backup

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func watchCommand(a *command.App) *cobra.Command {
	var r rpc.WatchRequest
	c := &cobra.Command{
		Use:   "watch [BACKUP]",
		Short: "Show the progress of backups",
		Long: `Watch a backup until it has ended. The exit code is 0 if it is completed, else 1. Without BACKUP, watch all backups, or those of
one VM, until interrupted.

Interrupting the command does not stop the backup. If the agent restarts, the command reconnects. With --output json, every event
is one line of JSON.

` + reference.HelpActive,
		Args: command.MaybeOneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveBackups),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.BackupID = args[0]
			}
			if r.BackupID != "" && (r.VMName != "" || r.Prunes || r.Pauses) {
				return errors.New("backup watch: want BACKUP, or --vm, --prunes and --pauses, not both")
			}
			return nil
		},
		RunE: a.AskAbout(command.AnActiveBackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			if len(args) == 1 {
				r.BackupID = args[0]
			}
			b, err := follow(ctx, a, c, r, watchView(a, r.BackupID == ""))
			if err != nil {
				return err
			}
			return outcome(b)
		}),
	}
	c.Flags().StringVar(&r.VMName, "vm", "", "only the backups of the VM with this `NAME`")
	c.Flags().BoolVar(&r.Prunes, "prunes", false, "also show daily prunes that are held because they would remove too much at once")
	c.Flags().BoolVar(&r.Pauses, "pauses", false, "also show repositories that are paused, resumed, and imported")
	a.CompleteFlag(c, "vm", command.VMNames)
	return c
}

// watchView is the view of a command that only watches: all backups, or one.
func watchView(a *command.App, all bool) progress.View {
	if a.Output == command.JSON {
		return progress.NewJSONLines(a.Stdout, a.Stderr)
	}
	view := progress.New(a.Stderr, a.ProgressEvery)
	if all {
		return news{view, map[string]bool{}}
	}
	return view
}

// news is a view of all backups. It leaves out a restore point that is verified or merged, until it is damaged: it was completed long
// ago, and that is not news.
type news struct {
	progress.View
	shown map[string]bool
}

func (v news) Show(e rpc.Event) {
	if b := e.Backup; b != nil {
		if b.State == rpc.Completed && !b.Damaged() && !v.shown[b.BackupID] {
			return
		}
		v.shown[b.BackupID] = true
	}
	v.View.Show(e)
}
