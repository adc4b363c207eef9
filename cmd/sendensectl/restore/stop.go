package restore

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func stopCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "stop RESTORE", Short: "Stop a restore, also if clients are connected",
		Long: "Stop a restore, also if clients are connected.\n\n" + reference.HelpRestore,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveRestores),
		RunE: a.AskAbout(command.ARestore, func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.StopRestore(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(r, func(p *output.Printer) {
				if r.State == rpc.RestoreEnded {
					p.Line("restore %s has ended", r.RestoreID)
					return
				}
				p.Line("restore %s is %s", r.RestoreID, r.State)
			})
		}),
	}
}
