package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

// An importedVM is one VM of a file, and the outcome of its import.
type importedVM struct {
	Line    int    `json:"line"` // in the file, from 1
	VMName  string `json:"vm_name"`
	Outcome string `json:"outcome"` // added, replaced, unchanged or refused
	Error   string `json:"error,omitempty"`

	Groups    []string `json:"groups,omitempty"`    // that choose it
	Ungrouped bool     `json:"ungrouped,omitempty"` // there are groups, and none chooses it

	vm        rpc.VM
	diskLines []int // in the file, of each disk; nil if the file is JSON
}

// The outcomes of an import.
const (
	imported  = "added"
	replaced  = "replaced"
	unchanged = "unchanged"
	refusedVM = "refused"
)

const importHelp = `Put the VMs of a file on record. If FILE is -, the standard input is read.

The file is JSON or CSV. JSON has the form of vm list -o json and vm show -o json: {"vms": [...]}, a list of VMs, or VMs one
after another. CSV has a heading and one row per disk. Rows with the same vm_name are one VM:

  vm_name,inventory_path,vcenter,tags,refresh,backup_interval,uuid,vm_context_id,disk_id,unit_number,device_key,capacity,label
  pgtest1,/DC1/vm/pgtest1,main,gold db,prefer,26h,,,0,0,2000,40GiB,Hard disk 1
  pgtest1,/DC1/vm/pgtest1,main,gold db,prefer,26h,,,1,1,2001,500GiB,Hard disk 2

vm_name is required. A disk requires disk_id, unit_number and capacity. The columns may have any order. backup_interval has the
meaning of vm add --interval. Groups choose VMs by tags; spaces or semicolons separate them.

Each VM is shown with its groups in JSON. VMs that no group of the configuration chooses are named: no schedule backs them up.

Each VM is put on record completely or not at all. If a VM has an error, the error is printed with file and line, the other VMs
are imported, and the exit code is 1. VMs that are already on record with the same data are not changed, so a file can be
imported repeatedly. VMs that are not in the file are not changed.`

func importCommand(a *command.App) *cobra.Command {
	var dryRun bool
	var format string
	c := &cobra.Command{
		Use: "import FILE", Short: "Put the VMs of a JSON or CSV file on record", Long: importHelp,
		Example: `  sendensectl vm import --dry-run vms.csv
  sendensectl vm list -o json | ssh other-hub sendensectl vm import -`,
		Args: command.OneArg,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"json", "csv"}, cobra.ShellCompDirectiveFilterFileExt
		},
		PreRunE: func(*cobra.Command, []string) error { return command.CheckWord("format", format, importFormats) },
	}
	c.RunE = a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
		list, err := readVMs(a, args[0], format)
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].Error == "" {
				if err := list[i].store(ctx, c, dryRun); err != nil {
					return err
				}
			}
		}
		return showImported(a, args[0], list, dryRun)
	})
	c.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only show what would be done")
	c.Flags().StringVar(&format, "format", importFormats[0], "`FORMAT` of the file: auto, json or csv")
	command.CompleteWords(c, "format", importFormats)
	return c
}

var importFormats = []string{"auto", "json", "csv"}

// readVMs reads a file of VMs. It fails if the whole file is wrong. The error of a single VM is in the list.
func readVMs(a *command.App, file, format string) ([]importedVM, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(a.Stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	list, err := parseVMs(data, format)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	refuseTwice(list)
	return list, nil
}

// refuseTwice refuses the second VM with the same name: the file does not say which one is meant.
func refuseTwice(list []importedVM) {
	first := map[string]int{}
	for i := range list {
		v := &list[i]
		if line, ok := first[v.VMName]; ok && v.VMName != "" && v.Error == "" {
			v.refuse(fmt.Errorf("vm %q is already in line %d", v.VMName, line))
		} else if !ok {
			first[v.VMName] = v.Line
		}
	}
}

func (v *importedVM) refuse(err error) { v.Outcome, v.Error = refusedVM, err.Error() }

// store puts the VM on record, or finds out what that would do. It fails if the next VM would fail for the same reason.
func (v *importedVM) store(ctx context.Context, c *rpc.Client, dryRun bool) error {
	put, err := c.CheckVM(ctx, v.vm)
	if err == nil && !put.Unchanged && !dryRun {
		put, err = c.PutVM(ctx, v.vm)
	}
	v.Groups, v.Ungrouped = put.Groups, put.Ungrouped
	var wrong *rpc.Error
	switch {
	case errors.As(err, &wrong) && wrong.Data.Reason == rpc.ReasonInvalidRequest:
		v.Line = v.lineOf(err)
		v.refuse(err)
		return nil
	case err != nil:
		return fmt.Errorf("line %d: vm %q: %w", v.Line, v.VMName, err)
	case put.Unchanged:
		v.Outcome = unchanged
	case put.Created:
		v.Outcome = imported
	default:
		v.Outcome = replaced
	}
	return nil
}

// lineOf is the line that an error of the agent is about: of the disk that it names, else the first one of the VM.
func (v *importedVM) lineOf(err error) int {
	for i, line := range v.diskLines {
		if strings.Contains(err.Error(), fmt.Sprintf("disk %d: ", v.vm.Disks[i].DiskID)) {
			return line
		}
	}
	return v.Line
}

func showImported(a *command.App, file string, list []importedVM, dryRun bool) error {
	var result struct {
		DryRun bool         `json:"dry_run"`
		VMs    []importedVM `json:"vms"`
	}
	result.DryRun, result.VMs = dryRun, list
	counts := map[string]int{}
	var forgotten []string
	for _, v := range list {
		counts[v.Outcome]++
		if v.Ungrouped {
			forgotten = append(forgotten, v.VMName)
		}
		if v.Error != "" {
			fmt.Fprintln(a.Stderr, human.Wrap(fmt.Sprintf("%s:%d: %s", human.Safe(file), v.Line, human.Safe(v.Error)), terminal.ProseWidth(a.Stderr), 2))
		}
	}
	err := a.Show(result, func(p *output.Printer) {
		would := ""
		if dryRun {
			would = "dry run, nothing was changed; the result would be: "
		}
		p.Line("%s%s added, %d replaced, %d unchanged, %d refused", would, human.Count(counts[imported], "VM"), counts[replaced], counts[unchanged], counts[refusedVM])
		if len(forgotten) > 0 {
			p.Prose("%s in no group: %s. No schedule backs up such a VM.", human.CountAre(len(forgotten), "VM"), human.FirstOf(forgotten))
		}
	})
	if n := counts[refusedVM]; err == nil && n > 0 {
		return fmt.Errorf("%s refused; the reasons are above", human.Count(n, "VM"))
	}
	return err
}
