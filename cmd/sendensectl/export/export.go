// Package export has the command that lists the exports.
package export

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// Command makes "export" with its verbs.
func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("export", "Show the disks that are served over NBD", listCommand(a))
}

func listCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the disks that are served over NBD", Args: command.NoArgs}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		list, err := c.ListExports(ctx)
		return list, func(p *output.Printer) {
			printExports(p, list.Exports)
			p.None(len(list.Exports), "no exports: no backup or restore is running")
		}, err
	})
}

func printExports(p *output.Printer, list []rpc.Export) {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{
			strconv.Itoa(int(e.NBDPort)), e.NBDExportName, e.UnitState, strconv.Itoa(e.QemuNBDPID),
			strconv.Itoa(e.Clients), human.Size(e.ReceivedBytes), human.Size(e.SentBytes), cmp.Or(e.RestoreID, e.BackupID), e.Unit,
		})
	}
	p.Table([]output.Column{
		{Title: "port"},
		{Title: "export"},
		{Title: "state"},
		{Title: "pid", Rank: 2},
		{Title: "clients"},
		{Title: "received"},
		{Title: "sent"},
		{Title: "owner", Rank: 1},
		{Title: "unit", Rank: 3},
	}, rows)
}
