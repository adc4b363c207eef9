package backup

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func cancelCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "cancel BACKUP", Short: "Stop a backup and remove what it made; or stop its consolidation or verification", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveBackups),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := c.CancelBackup(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(b, func(p *output.Printer) {
				if b.State == rpc.Completed {
					p.Line("what was being done with restore point %s is ended, and it is what it was", b.BackupID)
					return
				}
				p.Line("backup %s is %s", b.BackupID, b.State)
			})
		}),
	}
}
