package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) exportCommand() *cobra.Command {
	return noun("export", "Disks that are being served over NBD", a.exportList())
}

func (a *app) exportList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the disks that are being served over NBD", Args: cobra.NoArgs,
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			list, err := c.ListExports(ctx)
			if err != nil {
				return err
			}
			return a.show(list, func(p *printer) {
				var rows [][]string
				for _, e := range list.Exports {
					rows = append(rows, []string{
						strconv.Itoa(int(e.NBDPort)), e.NBDExportName, e.UnitState, strconv.Itoa(e.QemuNBDPID),
						strconv.Itoa(e.Clients), humanSize(e.ReceivedBytes), e.BackupID, e.Unit,
					})
				}
				p.table([]string{"port", "export", "state", "pid", "clients", "received", "backup", "unit"}, rows)
			})
		}),
	}
}
