package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) exportCommand() *cobra.Command {
	return noun("export", "Disks that are being served over NBD", a.exportList())
}

func (a *app) exportList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the disks that are being served over NBD", Args: noArgs}
	return a.look(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*printer), error) {
		list, err := c.ListExports(ctx)
		return list, func(p *printer) {
			printExports(p, list.Exports)
			p.none(len(list.Exports), "nothing is being exported: no backup runs")
		}, err
	})
}

func printExports(p *printer, list []rpc.Export) {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{
			strconv.Itoa(int(e.NBDPort)), e.NBDExportName, e.UnitState, strconv.Itoa(e.QemuNBDPID),
			strconv.Itoa(e.Clients), humanSize(e.ReceivedBytes), cmp.Or(e.RestoreID, e.BackupID), e.Unit,
		})
	}
	p.table([]column{
		{title: "port"},
		{title: "export"},
		{title: "state"},
		{title: "pid", rank: 2},
		{title: "clients"},
		{title: "received"},
		{title: "owner", rank: 1},
		{title: "unit", rank: 3},
	}, rows)
}
