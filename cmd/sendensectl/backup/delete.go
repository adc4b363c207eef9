package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

func deleteCommand(a *command.App) *cobra.Command {
	var r rpc.DeleteRequest
	var yes bool
	c := &cobra.Command{
		Use: "delete BACKUP", Short: "Delete a backup that has ended: its restore point and its record",
		Long: `Delete a backup that has ended: its images, its manifest and its record. This cannot be undone.

A restore point that is the parent of others cannot be deleted. Delete its children first, the newest first.

On a terminal, the command asks for confirmation, unless --yes is given. A script must give --yes.

` + reference.Help,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.EndedBackups),
		PreRunE: func(*cobra.Command, []string) error {
			if !yes && !terminal.Is(a.Stdin) {
				return errors.New("no terminal for the confirmation: to delete without it, use --yes")
			}
			return nil
		},
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			r.BackupID = args[0]
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
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	c.Flags().BoolVar(&r.MissingOK, "missing-ok", false, "do not fail if the directory of the restore point is missing; delete the record")
	return c
}

// confirmDelete shows the backup and asks for confirmation.
func confirmDelete(ctx context.Context, a *command.App, c *rpc.Client, id string) error {
	b, err := c.GetBackup(ctx, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "%s: %s backup of VM %s, %s, %s in %d disks, created %s\nDelete it permanently? [y/N] ",
		human.Safe(b.BackupID), b.BackupType, human.Safe(b.VMName), b.State, human.Size(b.TotalBytes), len(b.Disks), human.Time(b.CreatedAt))
	return a.Confirm(ctx)
}
