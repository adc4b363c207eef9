package vm

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func showCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a VM and its disks", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.VMNames),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			vm, err := c.GetVM(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(vm, func(p *output.Printer) { printVM(p, vm) })
		}),
	}
}

func printVM(p *output.Printer, vm rpc.VM) {
	p.Pairs("name", vm.VMName, "context id", vm.VMContextID, "path", vm.InventoryPath, "vcenter", vm.VCenter, "uuid", vm.UUID, "refresh", vm.Refresh,
		"interval", vm.BackupInterval, "tags", strings.Join(vm.Tags, ", "), "size", human.Size(describe.TotalBytes(vm)))
	if len(vm.Disks) == 0 {
		p.Line("no disks; to add them: sendensectl vm discover --store, or vm add with --disk")
		return
	}
	p.Line("")
	var rows [][]string
	for _, d := range vm.Disks {
		key := ""
		if d.DeviceKey != 0 {
			key = strconv.Itoa(d.DeviceKey)
		}
		rows = append(rows, []string{strconv.Itoa(d.DiskID), strconv.Itoa(d.UnitNumber), key, human.Size(d.CapacityBytes), d.Label})
	}
	p.Table([]output.Column{{Title: "disk"}, {Title: "unit"}, {Title: "key"}, {Title: "size"}, {Title: "label"}}, rows)
}
