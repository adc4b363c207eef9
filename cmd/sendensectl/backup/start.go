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

func startCommand(a *command.App) *cobra.Command {
	var r rpc.StartRequest
	var tags []string
	var limit string
	var wait bool
	c := &cobra.Command{
		Use:   "start VM",
		Short: "Start a backup of a whole VM",
		Long: `Start a backup of a whole VM: all its disks, from one snapshot.

The command returns when the copy has begun. With --wait, it returns when the backup has ended; the exit code is 1 unless the
backup is completed. Interrupting the command stops the wait, not the backup.`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.VMNames),
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			r.VMName = args[0]
			if r.RateLimit, err = parseRate(limit); err != nil {
				return err
			}
			r.Tags, err = parseTags(tags)
			return err
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
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
	c.Flags().StringVar((*string)(&r.BackupType), "type", string(rpc.Full), "`TYPE`: full, incremental, or auto (incremental if a suitable parent exists, else full)")
	c.Flags().StringVar(&r.RepositoryID, "repository", "", "`ID` of the repository")
	c.Flags().StringVar(&r.PolicyID, "policy", "", "`ID` of the policy that the backup belongs to")
	c.Flags().StringArrayVar(&tags, "tag", nil, "tag of the backup, `NAME=VALUE`; can be repeated")
	c.Flags().StringVar(&r.RequestID, "request-id", "", "your own `ID` of this request; a repeated request with the same id starts nothing new")
	c.Flags().BoolVar(&r.Queue, "queue", false, "wait in the queue if the limit of parallel backups is reached or no port is free")
	c.Flags().StringVar(&limit, "rate-limit", "", "limit for each disk per second, a `SIZE` such as 100MiB")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the backup has ended")
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
