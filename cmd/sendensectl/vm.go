package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) vmCommand() *cobra.Command {
	return noun("vm", "VMs that can be backed up",
		a.vmAdd(), a.vmImport(), a.vmDiscover(), a.vmList(), a.vmShow(), a.vmRemove())
}

func (a *app) vmAdd() *cobra.Command {
	var vm rpc.VM
	var disks []string
	var file string
	c := &cobra.Command{
		Use:   "add NAME --path PATH --disk id=N,unit=N,size=SIZE[,key=N][,label=TEXT]...",
		Short: "Put a VM on record, in place of one of the same name",
		Example: `  sendensectl vm add pgtest1 --path /DC1/vm/pgtest1 --vcenter main --disk id=0,unit=0,size=40GiB,key=2000
  sendensectl vm show pgtest1 -o json | sendensectl vm add -f -`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case file != "" && len(args) > 0:
				return fmt.Errorf("vm add: want a NAME or -f, not both")
			case file == "" && len(args) != 1:
				return fmt.Errorf("vm add: want one NAME, or -f FILE")
			}
			return nil
		},
		PreRunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := cmd.ValidateFlagGroups(); err != nil { // cobra does so only after this, and the file may be missing
				return err
			}
			if file != "" {
				vm, err = a.readVM(file)
				return err
			}
			vm.VMName = args[0]
			vm.Disks, err = parseDisks(disks)
			return err
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			put, err := c.PutVM(ctx, vm)
			if err != nil {
				return err
			}
			return a.show(put, func(p *printer) {
				verb := "replaced"
				if put.Created {
					verb = "added"
				}
				p.line("vm %s %s with %s, %s", put.VM.VMName, verb, count(len(put.VM.Disks), "disk"), humanSize(totalBytes(put.VM)))
			})
		}),
	}
	c.Flags().StringVar(&vm.InventoryPath, "path", "", "inventory `PATH` in vCenter, e.g. /DC1/vm/pgtest1")
	c.Flags().StringVar(&vm.VCenter, "vcenter", "", "`NAME` of a vCenter in the agent's configuration")
	c.Flags().StringVar(&vm.Refresh, "refresh", "", "`WHEN` to ask the vCenter for the disks before each backup: prefer (if it answers) or require; empty: never")
	c.Flags().StringVar(&vm.BackupInterval, "interval", "", "how often a restore point is expected, as `TIME`, e.g. 26h; 0s: never")
	c.Flags().StringVar(&vm.VMContextID, "context-id", "", "the hub's own `ID` of the VM")
	c.Flags().StringVar(&vm.UUID, "uuid", "", "vCenter's `UUID` of the VM, which discovery reports too")
	c.Flags().StringArrayVar(&disks, "disk", nil, "a `DISK`: id=0,unit=0,size=40GiB[,key=2000][,label=TEXT]; may be repeated")
	c.Flags().StringVarP(&file, "file", "f", "", "read the VM as JSON from `FILE`, - is the standard input")
	a.completeFlag(c, "vcenter", vcenterNames)
	completeWords(c, "refresh", []string{"prefer", "require"})
	register(c, "file", fileNames("json"))
	for _, flag := range []string{"path", "vcenter", "refresh", "interval", "context-id", "uuid", "disk"} {
		c.MarkFlagsMutuallyExclusive("file", flag)
	}
	return c
}

func (a *app) readVM(file string) (vm rpc.VM, err error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return vm, err
		}
		defer f.Close()
		in = f
	}
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&vm); err != nil {
		return vm, fmt.Errorf("%s: want a VM as vm show -o json prints it: %w", file, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return vm, fmt.Errorf("%s: want one VM, there is more", file)
	}
	return vm, nil
}

func parseDisks(specs []string) ([]rpc.Disk, error) {
	var disks []rpc.Disk
	for _, spec := range specs {
		d, err := parseDisk(spec)
		if err != nil {
			return nil, fmt.Errorf("--disk %s: %w", spec, err)
		}
		disks = append(disks, d)
	}
	return disks, nil
}

func parseDisk(spec string) (d rpc.Disk, err error) {
	given := map[string]bool{}
	for field := range strings.SplitSeq(spec, ",") {
		name, value, ok := strings.Cut(field, "=")
		if !ok || given[name] {
			return d, fmt.Errorf("%q: want name=value, each name once", field)
		}
		given[name] = true
		switch name {
		case "id":
			d.DiskID, err = strconv.Atoi(value)
		case "unit":
			d.UnitNumber, err = strconv.Atoi(value)
		case "key":
			d.DeviceKey, err = strconv.Atoi(value)
		case "size":
			d.CapacityBytes, err = parseSize(value)
		case "label":
			d.Label = value
		default:
			return d, fmt.Errorf("%q is not known: want id, unit, size, key or label", name)
		}
		if err != nil {
			return d, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range []string{"id", "unit", "size"} {
		if !given[name] {
			return d, fmt.Errorf("%s= is missing", name)
		}
	}
	return d, nil
}

func (a *app) vmList() *cobra.Command {
	var q rpc.VMQuery
	c := &cobra.Command{Use: "list", Short: "List VMs by name", Args: noArgs}
	a.look(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*printer), error) {
		page, err := c.ListVMs(ctx, q)
		return page, func(p *printer) {
			printVMs(p, page.VMs)
			p.none(len(page.VMs), "no VMs: put some on record with sendensectl vm discover, vm import or vm add")
			p.more(page.NextCursor)
		}, err
	})
	pageFlags(c, &q.Limit, &q.Cursor)
	return c
}

func printVMs(p *printer, list []rpc.VM) {
	var rows [][]string
	for _, vm := range list {
		rows = append(rows, []string{vm.VMName, strconv.Itoa(len(vm.Disks)), humanSize(totalBytes(vm)), vm.BackupInterval, vm.VCenter, vm.InventoryPath})
	}
	p.table([]column{{title: "name"}, {title: "disks"}, {title: "size"}, {title: "interval", rank: 2}, {title: "vcenter", rank: 3}, {title: "path", rank: 1}}, rows)
}

func pageFlags(c *cobra.Command, limit *int, cursor *string) {
	c.Flags().IntVar(limit, "limit", 100, "most to list, 1 to 1000")
	c.Flags().StringVar(cursor, "cursor", "", "go on after an earlier list, at the `CURSOR` it ended with")
}

func (a *app) vmShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a VM and its disks", Args: oneArg, ValidArgsFunction: a.completeFirst(vmNames),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			vm, err := c.GetVM(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(vm, func(p *printer) { printVM(p, vm) })
		}),
	}
}

func printVM(p *printer, vm rpc.VM) {
	p.pairs("name", vm.VMName, "context id", vm.VMContextID, "path", vm.InventoryPath, "vcenter", vm.VCenter, "uuid", vm.UUID, "refresh", vm.Refresh,
		"interval", vm.BackupInterval, "size", humanSize(totalBytes(vm)))
	if len(vm.Disks) == 0 {
		p.line("no disks: run sendensectl vm discover, or vm add with --disk")
		return
	}
	p.line("")
	var rows [][]string
	for _, d := range vm.Disks {
		key := ""
		if d.DeviceKey != 0 {
			key = strconv.Itoa(d.DeviceKey)
		}
		rows = append(rows, []string{strconv.Itoa(d.DiskID), strconv.Itoa(d.UnitNumber), key, humanSize(d.CapacityBytes), d.Label})
	}
	p.table([]column{{title: "disk"}, {title: "unit"}, {title: "key"}, {title: "size"}, {title: "label"}}, rows)
}

func (a *app) vmRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Take a VM off the record; its restore points stay", Args: oneArg, ValidArgsFunction: a.completeFirst(vmNames),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			if err := c.RemoveVM(ctx, args[0]); err != nil {
				return err
			}
			return a.show(rpc.VMRef{VMName: args[0]}, func(p *printer) { p.line("vm %s removed", args[0]) })
		}),
	}
}

func totalBytes(vm rpc.VM) int64 {
	var sum int64
	for _, d := range vm.Disks {
		sum += d.CapacityBytes
	}
	return sum
}
