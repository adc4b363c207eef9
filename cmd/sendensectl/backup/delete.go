package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

func deleteCommand(a *command.App) *cobra.Command {
	var r rpc.DeleteRequest
	var yes bool
	c := &cobra.Command{
		Use: "delete BACKUP", Short: "Remove a backup that has ended: restore point and record",
		Long: `Remove a backup that has ended: its images, its manifest and its record. What is removed cannot be brought back.

A backup that others stand on stays; delete those first, the newest first. On a terminal you are asked before anything
is removed, unless you say --yes; a script has to say it.`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.EndedBackups),
		PreRunE: func(_ *cobra.Command, args []string) error {
			r.BackupID = args[0]
			if !yes && !terminal.Is(a.Stdin) {
				return errors.New("there is nobody to ask: say --yes to delete without a question")
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			if !yes {
				if err := confirmDelete(ctx, a, c, r.BackupID); err != nil {
					return err
				}
			}
			if err := c.DeleteBackup(ctx, r); err != nil {
				return err
			}
			return a.Show(rpc.BackupRef{BackupID: r.BackupID}, func(p *output.Printer) { p.Line("backup %s deleted", r.BackupID) })
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&r.MissingOK, "missing-ok", false, "also when the directory of the restore point is gone: only the record is left to be removed")
	return c
}

// confirmDelete asks the user, who sees what it is about.
func confirmDelete(ctx context.Context, a *command.App, c *rpc.Client, id string) error {
	b, err := c.GetBackup(ctx, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "%s: %s backup of %s, %s, %s in %d disks, of %s\nDelete it for good? [y/N] ",
		human.Safe(b.BackupID), b.BackupType, human.Safe(b.VMName), b.State, human.Size(b.TotalBytes), len(b.Disks), human.Time(b.CreatedAt))
	return a.Confirm(ctx)
}
