package restore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func showCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{
		Use: "show RESTORE", Short: "Show a restore and the NBD URLs of its disks",
		Long: "Show a restore and the NBD URLs of its disks.\n\n" + reference.HelpRestore,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.AnyRestores),
	}
	id := "" // with --watch, latest stays the same one
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, args []string) (any, func(*output.Printer), error) {
		if id == "" {
			found, err := a.Refer(ctx, c, command.ARestore, args)
			if err != nil {
				return nil, nil, err
			}
			id = found[0]
		}
		r, err := c.GetRestore(ctx, id)
		return r, func(p *output.Printer) { printRestore(p, r) }, err
	})
}

// digestsText is the progress or result of the comparison with the digests; "" if there is none.
func digestsText(r rpc.Restore) string {
	switch {
	case r.Progress != nil:
		return fmt.Sprintf("%s of %s read", human.Size(r.Progress.BytesDone), human.Size(r.Progress.BytesTotal))
	case r.DigestsVerified:
		return "all images match"
	}
	return ""
}

func printRestore(p *output.Printer, r rpc.Restore) {
	access := "read-only"
	if r.Writable {
		access = "writable; written data is discarded at the end"
	}
	parents := ""
	if len(r.Points) > 1 {
		parents = strings.Join(r.Points[1:], ", ")
	}
	p.Pairs("restore", r.RestoreID, "backup", r.BackupID, "based on", parents, "vm", r.VMName, "repository", r.RepositoryID,
		"request", r.RequestID, "state", string(r.State), "access", access, "size", human.Size(r.TotalBytes), "started", human.Time(r.CreatedAt),
		"expires", human.Time(r.ExpiresAt), "ended", human.Time(r.EndedAt), "targets", r.NBDTargetsString, "files", r.FilesSocket, "reader", r.FilesUnit, "digests", digestsText(r))
	for _, w := range r.Warnings {
		p.Pairs("warning", w)
	}
	if f := r.Failure; f != nil {
		p.Pairs("failure", string(f.Reason)+": "+f.Message, "hint", hint.InCommands(f.Hint), "unit", f.Unit)
		for _, line := range f.Journal {
			p.Line("  %s", line)
		}
	}
	p.Line("")
	var rows [][]string
	for _, d := range r.Disks {
		rows = append(rows, []string{strconv.Itoa(d.DiskID), strconv.Itoa(d.DiskKey), human.Size(d.CapacityBytes), d.NBDURL, d.Label})
	}
	p.Table([]output.Column{{Title: "disk"}, {Title: "key", Rank: 1}, {Title: "size"}, {Title: "url"}, {Title: "label", Rank: 2}}, rows)
}
