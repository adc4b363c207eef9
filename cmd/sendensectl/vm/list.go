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
		page, err := listVMs(ctx, c, q)
		return page, func(p *output.Printer) {
			printVMs(p, page.VMs)
			p.None(len(page.VMs), "no VMs on record; to add some: sendensectl vm discover, vm import or vm add")
			p.More(page.NextCursor)
		}, err
	})
	c.Flags().IntVar(&q.Limit, "limit", 0, "list at most this many, 1 to 1000 (default: all)")
	c.Flags().StringVar(&q.Cursor, "cursor", "", "continue an earlier list: the `CURSOR` that it printed")
	return c
}

// listVMs returns one page, or all VMs if there is no limit: a list that is imported elsewhere must be complete.
func listVMs(ctx context.Context, c *rpc.Client, q rpc.VMQuery) (rpc.VMPage, error) {
	if q.Limit != 0 {
		return c.ListVMs(ctx, q)
	}
	all := rpc.VMPage{VMs: []rpc.VM{}}
	for q.Limit = 1000; ; {
		page, err := c.ListVMs(ctx, q)
		if err != nil {
			return page, err
		}
		all.VMs = append(all.VMs, page.VMs...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return all, nil
		}
	}
}

func printVMs(p *output.Printer, list []rpc.VM) {
	var rows [][]string
	for _, vm := range list {
		rows = append(rows, []string{vm.VMName, strconv.Itoa(len(vm.Disks)), human.Size(describe.TotalBytes(vm)), vm.BackupInterval, vm.VCenter, vm.InventoryPath})
	}
	p.Table([]output.Column{{Title: "name"}, {Title: "disks"}, {Title: "size"}, {Title: "interval", Rank: 2}, {Title: "vcenter", Rank: 3}, {Title: "path", Rank: 1}}, rows)
}
