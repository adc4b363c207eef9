package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupCommand() *cobra.Command {
	return noun("backup", "Backups: under way, done and failed",
		a.backupStart(), a.backupWatch(), a.backupWait(), a.backupList(), a.backupShow(), a.backupCancel())
}

func (a *app) backupList() *cobra.Command {
	var q rpc.BackupQuery
	c := &cobra.Command{
		Use: "list", Short: "List backups, the newest first", Args: cobra.NoArgs,
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			page, err := c.ListBackups(ctx, q)
			if err != nil {
				return err
			}
			a.more(page.NextCursor)
			return a.show(page, func(p *printer) {
				var rows [][]string
				for _, b := range page.Backups {
					rows = append(rows, listRow(b, time.Now()))
				}
				p.clip(rows, 3, nameWidth)
				p.roomyTable(4, []string{"backup", "state", "type", "vm", "started", "took", "received", "size", "disks", "repository"}, rows)
			})
		}),
	}
	c.Flags().StringVar(&q.VMName, "vm", "", "only of the VM of this `NAME`")
	c.Flags().StringVar((*string)(&q.State), "state", "", "only in this `STATE`")
	pageFlags(c, &q.Limit, &q.Cursor)
	return c
}

func listRow(b rpc.Backup, now time.Time) []string {
	end, received := b.EndedAt, humanSize(b.BytesTransferred)
	if end.IsZero() {
		end = now
	}
	if !b.State.Ended() {
		received = "" // the record has it at the end; backup show tells it before
	}
	return []string{
		b.BackupID, string(b.State), string(b.BackupType), b.VMName, shortTime(b.CreatedAt), humanDuration(end.Sub(b.CreatedAt)),
		received, humanSize(b.TotalBytes), strconv.Itoa(len(b.Disks)), b.RepositoryID,
	}
}

func (a *app) backupShow() *cobra.Command {
	return &cobra.Command{
		Use: "show BACKUP", Short: "Show a backup and its disks", Args: cobra.ExactArgs(1),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := c.GetBackup(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(b, func(p *printer) { printBackup(p, b) })
		}),
	}
}

func (a *app) backupCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel BACKUP", Short: "Stop a backup and remove what it made", Args: cobra.ExactArgs(1),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := c.CancelBackup(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(b, func(p *printer) { p.line("backup %s is %s", b.BackupID, b.State) })
		}),
	}
}

func printBackup(p *printer, b rpc.Backup) {
	p.pairs("backup", b.BackupID, "vm", b.VMName, "context id", b.VMContextID, "type", string(b.BackupType),
		"parent", b.ParentBackupID, "repository", b.RepositoryID, "policy", b.PolicyID, "request", b.RequestID, "tags", tagList(b.Tags),
		"state", string(b.State), "received", fmt.Sprintf("%s, the disks hold %s", humanSize(b.BytesTransferred), humanSize(b.TotalBytes)),
		"progress", progressOf(b), "rate limit", rateOf(b.RateLimit), "directory", b.Directory, "created", humanTime(b.CreatedAt), "updated", humanTime(b.UpdatedAt), "ended", humanTime(b.EndedAt),
		"cools down until", humanTime(b.CooldownUntil))
	if f := b.Failure; f != nil {
		p.pairs("failure", string(f.Reason)+": "+f.Message, "hint", f.Hint, "unit", f.Unit)
		for _, line := range f.Journal {
			p.line("  %s", line)
		}
	}
	p.line("")
	var rows [][]string
	for _, d := range b.Disks {
		rows = append(rows, []string{
			strconv.Itoa(d.DiskID), strconv.Itoa(d.DiskKey), humanSize(d.CapacityBytes), humanSize(d.ReceivedBytes),
			yesNo(d.Complete), strconv.Itoa(int(d.NBDPort)), d.NBDExportName, d.Result, d.ChangeID,
		})
	}
	p.roomyTable(7, []string{"disk", "key", "size", "received", "complete", "port", "export", "result", "change id"}, rows)
}

// progressOf is the progress of a backup that is active; nothing for another.
func progressOf(b rpc.Backup) string {
	if b.Progress == nil {
		return ""
	}
	return progressText(*b.Progress)
}

func rateOf(limit int64) string {
	if limit == 0 {
		return ""
	}
	return humanSize(limit) + "/s for each disk"
}

func tagList(tags map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, name+"="+tags[name])
	}
	return strings.Join(list, ", ")
}
