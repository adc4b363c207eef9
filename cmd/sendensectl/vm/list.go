package vm

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func listCommand(a *command.App) *cobra.Command {
	q := rpc.VMQuery{Backups: true}
	c := &cobra.Command{
		Use: "list", Short: "List the VMs on record, and how their backups stand", Args: command.NoArgs,
		Long: `List the VMs on record, and how their backups stand.

  BACKUPS       ok; overdue: the newest good restore point is older than the interval of the VM; none yet: there is no restore point,
                but it is not overdue; not expected: the interval is 0s, and there is no restore point
  LAST GOOD     when the newest restore point was completed that is not known to be damaged, and whose date is not in the future
  NOW           the state of the backup in progress
  LAST FAILURE  the reason of the backup that failed last, if it began after the last good restore point

The interval is that of the VM (vm add --interval), otherwise metrics.backup_interval of the configuration, which is 26h by default.`,
	}
	a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		page, err := listVMs(ctx, c, q)
		return page, func(p *output.Printer) {
			printVMs(p, page, time.Now())
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
	if q.Limit != 0 || q.Cursor != "" {
		return c.ListVMs(ctx, q)
	}
	vms, of, err := command.AllVMsWithBackups(ctx, c)
	return rpc.VMPage{VMs: vms, Backups: of}, err
}

func printVMs(p *output.Printer, page rpc.VMPage, now time.Time) {
	var rows [][]string
	for i, vm := range page.VMs {
		var s describe.Standing
		if i < len(page.Backups) {
			s = describe.StandingOf(page.Backups[i], now)
		}
		rows = append(rows, []string{
			vm.VMName, s.Word, s.LastGood, s.Age, s.Now, s.Failed,
			strconv.Itoa(len(vm.Disks)), human.Size(describe.TotalBytes(vm)), vm.BackupInterval, vm.VCenter, vm.InventoryPath,
		})
	}
	p.Table([]output.Column{
		{Title: "name", Most: output.NameWidth},
		{Title: "backups"},
		{Title: "last good"},
		{Title: "age"},
		{Title: "now", Rank: 2},
		{Title: "last failure", Rank: 1},
		{Title: "disks", Rank: 4},
		{Title: "size", Rank: 3},
		{Title: "interval", Rank: 6},
		{Title: "vcenter", Rank: 7},
		{Title: "path", Rank: 5},
	}, rows)
}
