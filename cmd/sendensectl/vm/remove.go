package vm

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func removeCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a VM from the record; its restore points remain", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.VMNames),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			if err := c.RemoveVM(ctx, args[0]); err != nil {
				return err
			}
			return a.Show(rpc.VMRef{VMName: args[0]}, func(p *output.Printer) { p.Line("vm %s removed from the record", args[0]) })
		}),
	}
}
