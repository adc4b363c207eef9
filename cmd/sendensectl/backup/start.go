package backup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

const startHelp = `Start a backup of a whole VM: all its disks, from one snapshot.

The command returns when the copy has begun. With --wait, it returns when the backup has ended; the exit code is 1 unless the
backup is completed. Interrupting the command stops the wait, not the backup.

With --all or --vm, the command starts one backup for each VM, and prints the result for each. In a GLOB, * stands for any text, ? for
one character and [a-z] for one of several. Backups that cannot start at once wait in the queue, unless --queue=false is given. A VM
with a backup in progress gets no second one, and counts as success. If a backup cannot be started, the others are started
nevertheless. The exit code is 1 if one failed.

A call with --request-id can be repeated, for example after an interruption: for each VM, the agent starts at most one backup with
that id. With --all or --vm, the request id of each VM is made of the id and the name of the VM.`

// manyFlags select several VMs.
type manyFlags struct {
	all   bool
	globs []string
}

// patterns are the names of the VMs to start, as patterns; none for a single VM.
func (f *manyFlags) patterns() []string {
	if f.all {
		return []string{"*"}
	}
	return f.globs
}

// checkArgs wants one VM, or flags.
func (f *manyFlags) checkArgs(c *cobra.Command, args []string) error {
	switch {
	case f.all && len(f.globs) > 0:
		return errors.New("backup start: want --all or --vm, not both")
	case len(f.patterns()) == 0 && len(args) == 0:
		return errors.New("backup start: VM is missing, see sendensectl backup start --help")
	case len(f.patterns()) == 0:
		return command.OneArg(c, args)
	case len(args) > 0:
		return fmt.Errorf("backup start: want VM, or --all or --vm, not both; got %q too", args[0])
	}
	for _, p := range f.globs {
		if err := checkPattern(p); err != nil {
			return err
		}
	}
	return nil
}

func startCommand(a *command.App) *cobra.Command {
	var r rpc.StartRequest
	var tags []string
	var limit string
	var wait bool
	var many manyFlags
	c := &cobra.Command{
		Use:   "start VM | --vm GLOB... | --all",
		Short: "Start a backup of a whole VM, or of several",
		Long:  startHelp,
		Example: `  sendensectl backup start pgtest1 --wait
  sendensectl backup start --vm 'web-*' --vm db1
  sendensectl backup start --all --request-id nightly-2026-11-30`,
		Args: many.checkArgs, ValidArgsFunction: a.CompleteFirst(command.VMNames),
		PreRunE: func(c *cobra.Command, args []string) (err error) {
			if len(args) == 1 {
				r.VMName = args[0]
			} else if !c.Flags().Changed("queue") {
				r.Queue = true
			}
			if r.RateLimit, err = parseRate(limit); err != nil {
				return err
			}
			r.Tags, err = parseTags(tags)
			return err
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			if patterns := many.patterns(); len(patterns) > 0 {
				names, err := matchVMs(ctx, c, patterns)
				if err != nil {
					return err
				}
				return startMany(ctx, a, c, r, names, wait)
			}
			started, err := c.StartBackup(ctx, r)
			if err != nil {
				return err
			}
			if wait {
				return waitFor(ctx, a, c, started.BackupID)
			}
			return a.Show(started, func(p *output.Printer) { printStarted(p, started) })
		}),
	}
	c.Flags().StringVar((*string)(&r.BackupType), "type", string(rpc.Auto), "`TYPE`: full, incremental, or auto (incremental if a suitable parent exists, else full)")
	c.Flags().StringVar(&r.RepositoryID, "repository", "", "`ID` of the repository")
	c.Flags().StringVar(&r.PolicyID, "policy", "", "`ID` of the policy that the backup belongs to")
	c.Flags().StringArrayVar(&tags, "tag", nil, "tag of the backup, `NAME=VALUE`; can be repeated")
	c.Flags().StringVar(&r.RequestID, "request-id", "", "your own `ID` of this request; a repeated request with the same id starts nothing new")
	c.Flags().BoolVar(&r.Queue, "queue", false, "wait in the queue if the limit of parallel backups is reached or no port is free; the default with --all and --vm")
	c.Flags().StringVar(&limit, "rate-limit", "", "limit for each disk per second, a `SIZE` such as 100MiB")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the backup has ended")
	c.Flags().BoolVar(&many.all, "all", false, "start a backup of each VM on record")
	c.Flags().StringArrayVar(&many.globs, "vm", nil, "start a backup of each VM whose name matches `GLOB`, such as 'web-*'; can be repeated")
	a.CompleteFlag(c, "vm", command.VMNames)
	command.CompleteWords(c, "type", backupTypes)
	a.CompleteFlag(c, "repository", command.RepositoryIDs)
	return c
}

var backupTypes = []string{string(rpc.Full), string(rpc.Incremental), string(rpc.Auto)}

// parseRate reads a rate such as 100MiB, 100MiB/s or 1GB; "" is no limit.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := human.ParseSize(strings.TrimSuffix(s, "/s"))
	if err == nil && n == 0 {
		err = errors.New("want more than 0; for no limit, leave it out")
	}
	if err != nil {
		return 0, fmt.Errorf("--rate-limit %s: %w", s, err)
	}
	return n, nil
}

func parseTags(specs []string) (map[string]string, error) {
	var tags map[string]string
	for _, spec := range specs {
		name, value, ok := strings.Cut(spec, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--tag %s: want NAME=VALUE", spec)
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[name] = value
	}
	return tags, nil
}

// nextOf is what to do with a backup that was just started; "" if it has ended.
func nextOf(s rpc.StartResponse) string {
	switch {
	case s.Status == string(rpc.Queued):
		return "the backup waits in the queue; to follow it: sendensectl backup watch " + s.BackupID
	case s.Status == rpc.StatusStarted:
		return "to follow it: sendensectl backup watch " + s.BackupID
	}
	return ""
}

func printStarted(p *output.Printer, s rpc.StartResponse) {
	p.Pairs("backup", s.BackupID, "vm", s.VMName, "type", string(s.BackupType), "repository", s.RepositoryID,
		"status", s.Status, "size", human.Size(s.TotalBytes), "error", s.ErrorMessage, "next", nextOf(s))
	if len(s.DiskResults) == 0 {
		return
	}
	p.Line("")
	var rows [][]string
	for _, d := range s.DiskResults {
		rows = append(rows, []string{strconv.Itoa(d.DiskID), string(d.Status), strconv.Itoa(int(d.NBDPort)), d.NBDExportName, d.QCOW2Path})
	}
	p.Table([]output.Column{{Title: "disk"}, {Title: "status"}, {Title: "port"}, {Title: "export"}, {Title: "image", Rank: 1}}, rows)
}
