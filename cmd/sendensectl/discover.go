package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) vmDiscover() *cobra.Command {
	var r rpc.DiscoverRequest
	c := &cobra.Command{
		Use: "discover VCENTER", Short: "Ask which VMs a vCenter has; with --store, put them on record",
		Long: `Ask the SNA which VMs a vCenter of the agent's configuration has. It takes about a quarter of a minute for a hundred VMs.
With --store every VM found is put on record; the exit code is 1 if one of them was not.`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(vcenterNames),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r.VCenter = args[0]
			found, err := c.DiscoverVMs(ctx, r)
			if err != nil {
				return err
			}
			if err := a.show(found, func(p *printer) { printDiscovered(p, found.VMs) }); err != nil || !r.Store {
				return err
			}
			return notStored(found.VMs)
		}),
	}
	c.Flags().StringVar(&r.Filter, "filter", "", "only VMs whose name the SNA finds to match `TEXT`")
	c.Flags().BoolVar(&r.Store, "store", false, "put every VM found on record")
	return c
}

func printDiscovered(p *printer, list []rpc.DiscoveredVM) {
	var rows [][]string
	for _, d := range list {
		rows = append(rows, []string{d.VM.VMName, strconv.Itoa(len(d.VM.Disks)), humanSize(totalBytes(d.VM)), yesNo(d.Stored), d.Error})
	}
	p.table([]column{{title: "name"}, {title: "disks", rank: 2}, {title: "size", rank: 1}, {title: "stored"}, {title: "error"}}, rows)
}

// notStored is an error if a VM was to be put on record and was not: a script shall not go on as if all could be backed up.
func notStored(list []rpc.DiscoveredVM) error {
	n := 0
	for _, d := range list {
		if !d.Stored {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%s of %d not stored, the reasons are above", count(n, "VM"), len(list))
}
