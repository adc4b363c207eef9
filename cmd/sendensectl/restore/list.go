package restore

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func listCommand(a *command.App) *cobra.Command {
	var q rpc.RestoreQuery
	c := &cobra.Command{Use: "list", Short: "List the active restores and the last ended ones", Args: command.NoArgs}
	c.Flags().BoolVar(&q.ActiveOnly, "active", false, "only restores that have not ended")
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		list, err := c.ListRestores(ctx, q)
		return list, func(p *output.Printer) { printRestores(p, list.Restores) }, err
	})
}

func printRestores(p *output.Printer, list []rpc.Restore) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{
			r.RestoreID, string(r.State), r.VMName, r.BackupID, strconv.Itoa(len(r.Disks)), human.Size(r.TotalBytes), human.YesNo(r.Writable),
			human.ShortTime(r.CreatedAt), human.ShortTime(r.ExpiresAt), human.ShortTime(r.EndedAt),
		})
	}
	p.Table([]output.Column{
		{Title: "restore"},
		{Title: "state"},
		{Title: "vm", Most: output.NameWidth},
		{Title: "backup", Rank: 1},
		{Title: "disks", Rank: 5},
		{Title: "size", Rank: 4},
		{Title: "writable", Rank: 3},
		{Title: "started", Rank: 6},
		{Title: "expires", Rank: 2},
		{Title: "ended", Rank: 7},
	}, rows)
}
