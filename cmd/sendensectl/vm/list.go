package vm

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func listCommand(a *command.App) *cobra.Command {
	var q rpc.VMQuery
	c := &cobra.Command{Use: "list", Short: "List the VMs on record", Args: command.NoArgs}
	a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		page, err := c.ListVMs(ctx, q)
		return page, func(p *output.Printer) {
			printVMs(p, page.VMs)
			p.None(len(page.VMs), "no VMs on record; to add some: sendensectl vm discover, vm import or vm add")
			p.More(page.NextCursor)
		}, err
	})
	command.PageFlags(c, &q.Limit, &q.Cursor)
	return c
}

func printVMs(p *output.Printer, list []rpc.VM) {
	var rows [][]string
	for _, vm := range list {
		rows = append(rows, []string{vm.VMName, strconv.Itoa(len(vm.Disks)), human.Size(describe.TotalBytes(vm)), vm.BackupInterval, vm.VCenter, vm.InventoryPath})
	}
	p.Table([]output.Column{{Title: "name"}, {Title: "disks"}, {Title: "size"}, {Title: "interval", Rank: 2}, {Title: "vcenter", Rank: 3}, {Title: "path", Rank: 1}}, rows)
}
