package backup

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func listCommand(a *command.App) *cobra.Command {
	var q rpc.BackupQuery
	var since, until string
	var tags []string
	c := &cobra.Command{
		Use: "list", Short: "List backups, the newest first", Args: command.NoArgs,
		Long: `List backups, the newest first.

--since and --until take a time (2026-11-25, "2026-11-25 22:30", 2026-11-25T22:30:00Z) or an age (90m, 12h, 7d). A time without a
zone is local.`,
		Example: `  sendensectl backup list --since 24h --state failed
  sendensectl backup list --vm pgtest1 --repository main --limit 10
  sendensectl backup list --tag tier=gold --tag nightly
  sendensectl backup list --damaged
  sendensectl backup list --watch`,
	}
	a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		none := "no backups"
		if !reflect.DeepEqual(q, rpc.BackupQuery{Limit: q.Limit}) {
			none = "no such backups"
		}
		page, err := listBackups(ctx, c, q)
		return page, func(p *output.Printer) {
			printBackups(p, page.Backups, time.Now())
			p.None(len(page.Backups), none)
			p.More(page.NextCursor)
		}, err
	})
	inner := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) (err error) {
		if q.Since, err = command.ParseMoment(since, time.Now()); err != nil {
			return fmt.Errorf("--since %w", err)
		}
		if q.Until, err = command.ParseMoment(until, time.Now()); err != nil {
			return fmt.Errorf("--until %w", err)
		}
		if q.Tags, err = wantedTags(tags); err != nil {
			return err
		}
		return inner(c, args)
	}
	c.Flags().StringVar(&q.VMName, "vm", "", "only of the VM with this `NAME`")
	c.Flags().StringVar((*string)(&q.State), "state", "", "only in this `STATE`")
	c.Flags().StringVar(&q.RepositoryID, "repository", "", "only in the repository with this `ID`")
	c.Flags().StringVar(&since, "since", "", "only backups that began at this `TIME` or later")
	c.Flags().StringVar(&until, "until", "", "only backups that began before this `TIME`")
	c.Flags().StringArrayVar(&tags, "tag", nil, "only backups with this tag, `NAME[=VALUE]`; can be repeated")
	c.Flags().BoolVar(&q.Damaged, "damaged", false, "only restore points that are damaged, or based on a damaged one")
	command.PageFlags(c, &q.Limit, &q.Cursor)
	a.CompleteFlag(c, "vm", command.VMNames)
	a.CompleteFlag(c, "repository", command.RepositoryIDs)
	command.CompleteWords(c, "state", command.States)
	return c
}

// listBackups returns one page of the full length, if there are enough backups: pages of the agent can be shorter.
func listBackups(ctx context.Context, c *rpc.Client, q rpc.BackupQuery) (rpc.BackupPage, error) {
	list := []rpc.Backup{}
	for limit := q.Limit; ; q.Limit = limit - len(list) {
		page, err := c.ListBackups(ctx, q)
		if err != nil {
			return page, err
		}
		list = append(list, page.Backups...)
		if page.NextCursor == "" || len(list) >= limit {
			page.Backups = list
			return page, nil
		}
		q.Cursor = page.NextCursor
	}
}

func printBackups(p *output.Printer, list []rpc.Backup, now time.Time) {
	var rows [][]string
	failed := false
	for _, b := range list {
		rows = append(rows, listRow(b, now))
		failed = failed || b.Failure != nil
	}
	columns := []output.Column{
		{Title: "backup"},
		{Title: "state"},
		{Title: "reason"},
		{Title: "type", Rank: 2},
		{Title: "vm", Rank: 5, Most: output.NameWidth},
		{Title: "started", Rank: 1},
		{Title: "took", Rank: 3},
		{Title: "received", Rank: 4},
		{Title: "size", Rank: 6},
		{Title: "disks", Rank: 7},
		{Title: "repository", Rank: 8},
		{Title: "verified", Rank: 9},
	}
	if !failed {
		for i := range rows {
			rows[i] = slices.Delete(rows[i], reasonColumn, reasonColumn+1)
		}
		columns = slices.Delete(columns, reasonColumn, reasonColumn+1)
	}
	p.Table(columns, rows)
	printReasons(p, list)
	for _, b := range list {
		if b.RefreshError != "" {
			p.Line("%s: the disks could not be looked up in vCenter; the backup has the disks on record. See sendensectl backup show %s", b.BackupID, b.BackupID)
		}
	}
}

// reasonColumn is the column of the reason, which a list without a failure does not have.
const reasonColumn = 2

// printReasons says why the backups of a list failed, if these are few: a page of failures has the reasons as a column.
func printReasons(p *output.Printer, list []rpc.Backup) {
	shown := 0
	for _, b := range list {
		if b.Failure == nil {
			continue
		}
		if shown == 0 {
			p.Line("")
		}
		if shown++; shown > mostReasons {
			p.Line("for the others: sendensectl backup show BACKUP")
			return
		}
		p.Prose("%s: %s", b.BackupID, b.Failure.Message)
	}
}

// mostReasons is how many failures a list explains.
const mostReasons = 10

func listRow(b rpc.Backup, now time.Time) []string {
	end := b.EndedAt
	if end.IsZero() {
		end = now
	}
	return []string{
		b.BackupID, string(b.State), reasonOf(b), string(b.BackupType), b.VMName, human.Dated(b.CreatedAt, b.FutureDated), human.Duration(end.Sub(b.CreatedAt)),
		human.Size(describe.Received(b)), human.Size(b.TotalBytes), strconv.Itoa(len(b.Disks)), b.RepositoryID, describe.Verified(b.Verified, b.InheritedFrom),
	}
}

// reasonOf is the reason of a failure; "" if the backup did not fail.
func reasonOf(b rpc.Backup) string {
	if b.Failure == nil {
		return ""
	}
	return string(b.Failure.Reason)
}

// wantedTags reads the tags of a query. A tag without a value matches every value.
func wantedTags(list []string) (map[string]string, error) {
	var tags map[string]string
	for _, tag := range list {
		name, value, _ := strings.Cut(tag, "=")
		if name == "" {
			return nil, fmt.Errorf("--tag %q: want NAME or NAME=VALUE", tag)
		}
		if _, twice := tags[name]; twice {
			return nil, fmt.Errorf("--tag %s: given twice, but a tag has one value", name)
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[name] = value
	}
	return tags, nil
}
