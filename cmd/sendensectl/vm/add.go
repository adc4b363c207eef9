package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func addCommand(a *command.App) *cobra.Command {
	var vm rpc.VM
	var disks []string
	var file string
	c := &cobra.Command{
		Use:   "add NAME --path PATH --disk id=N,unit=N,size=SIZE[,key=N][,label=TEXT]...",
		Short: "Put a VM on record, or replace the one with the same name",
		Example: `  sendensectl vm add pgtest1 --path /DC1/vm/pgtest1 --vcenter main --disk id=0,unit=0,size=40GiB,key=2000
  sendensectl vm show pgtest1 -o json | sendensectl vm add -f -`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case file != "" && len(args) > 0:
				return fmt.Errorf("vm add: want a NAME or -f FILE, not both")
			case file == "" && len(args) != 1:
				return fmt.Errorf("vm add: want one NAME, or -f FILE")
			}
			return nil
		},
		PreRunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := cmd.ValidateFlagGroups(); err != nil { // cobra checks them after this; the missing file would be reported first
				return err
			}
			if file != "" {
				vm, err = readVM(a, file)
				return err
			}
			vm.VMName = args[0]
			vm.Disks, err = parseDisks(disks)
			return err
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			put, err := c.PutVM(ctx, vm)
			if err != nil {
				return err
			}
			return a.Show(put, func(p *output.Printer) {
				verb := "replaced"
				if put.Created {
					verb = "added"
				}
				p.Line("vm %s %s with %s, %s", put.VM.VMName, verb, human.Count(len(put.VM.Disks), "disk"), human.Size(describe.TotalBytes(put.VM)))
				switch {
				case put.Ungrouped:
					p.Line("it is in no group, so that no schedule backs it up")
				case len(put.Groups) > 0:
					p.Line("groups: %s", strings.Join(put.Groups, ", "))
				}
			})
		}),
	}
	c.Flags().StringVar(&vm.InventoryPath, "path", "", "inventory `PATH` in vCenter, such as /DC1/vm/pgtest1")
	c.Flags().StringVar(&vm.VCenter, "vcenter", "", "`NAME` of the vCenter in the configuration of the agent")
	c.Flags().StringVar(&vm.Refresh, "refresh", "", "`WHEN` to look up the disks in vCenter before each backup: prefer (use those on record if vCenter does not answer) or require; empty: never")
	c.Flags().StringVar(&vm.BackupInterval, "interval", "", "expect a restore point every `TIME`, such as 26h; 0s: never")
	c.Flags().StringSliceVar(&vm.Tags, "tag", nil, "a `TAG` by which groups choose the VM; can be repeated")
	c.Flags().StringVar(&vm.VMContextID, "context-id", "", "`ID` of the VM in the hub")
	c.Flags().StringVar(&vm.UUID, "uuid", "", "`UUID` of the VM in vCenter, as discovery reports it")
	c.Flags().StringArrayVar(&disks, "disk", nil, "a `DISK`: id=0,unit=0,size=40GiB[,key=2000][,label=TEXT]; can be repeated")
	c.Flags().StringVarP(&file, "file", "f", "", "read the VM as JSON from `FILE`; - is the standard input")
	a.CompleteFlag(c, "vcenter", command.VCenterNames)
	command.CompleteWords(c, "refresh", []string{"prefer", "require"})
	command.CompleteWith(c, "file", command.FileNames("json"))
	for _, flag := range []string{"path", "vcenter", "refresh", "interval", "tag", "context-id", "uuid", "disk"} {
		c.MarkFlagsMutuallyExclusive("file", flag)
	}
	return c
}

func readVM(a *command.App, file string) (vm rpc.VM, err error) {
	in := a.Stdin
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
		return vm, fmt.Errorf("%s: want a VM in the form of vm show -o json: %w", file, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return vm, fmt.Errorf("%s: want one VM, got more", file)
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
			d.CapacityBytes, err = human.ParseSize(value)
		case "label":
			d.Label = value
		default:
			return d, fmt.Errorf("unknown field %q: want id, unit, size, key or label", name)
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
