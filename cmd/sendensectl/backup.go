package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupCommand() *cobra.Command {
	return noun("backup", "Backups: under way, done and failed",
		a.backupStart(), a.backupList(), a.backupShow(), a.backupCancel())
}

func (a *app) backupStart() *cobra.Command {
	var r rpc.StartRequest
	var tags []string
	var wait bool
	c := &cobra.Command{
		Use:   "start VM",
		Short: "Start a backup of a whole VM",
		Long: `Start a backup of a whole VM: every disk of it, from one snapshot. The command returns once the copying has begun; with
--wait, once it has ended, and then with exit code 1 unless the backup is completed. Interrupting it stops the waiting,
not the backup.`,
		Args: cobra.ExactArgs(1),
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			r.VMName = args[0]
			r.Tags, err = parseTags(tags)
			return err
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			started, err := c.StartBackup(ctx, r)
			if err != nil {
				return err
			}
			if wait {
				return a.waitFor(ctx, c, started.BackupID)
			}
			return a.show(started, func(p *printer) { printStarted(p, started) })
		}),
	}
	c.Flags().StringVar((*string)(&r.BackupType), "type", string(rpc.Full), "full or incremental")
	c.Flags().StringVar(&r.RepositoryID, "repository", "", "`ID` of the repository")
	c.Flags().StringVar(&r.PolicyID, "policy", "", "`ID` of the policy that this is done for")
	c.Flags().StringArrayVar(&tags, "tag", nil, "a `NAME=VALUE` to keep with the backup; may be repeated")
	c.Flags().StringVar(&r.RequestID, "request-id", "", "your own `ID` of this request: repeating it starts nothing new")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the backup has ended")
	return c
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

func printStarted(p *printer, s rpc.StartResponse) {
	p.pairs("backup", s.BackupID, "vm", s.VMName, "type", string(s.BackupType), "repository", s.RepositoryID,
		"status", s.Status, "size", humanSize(s.TotalBytes), "error", s.ErrorMessage)
	p.line("")
	var rows [][]string
	for _, d := range s.DiskResults {
		rows = append(rows, []string{strconv.Itoa(d.DiskID), string(d.Status), strconv.Itoa(int(d.NBDPort)), d.NBDExportName, d.QCOW2Path})
	}
	p.table([]string{"disk", "status", "port", "export", "image"}, rows)
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
					rows = append(rows, []string{
						b.BackupID, b.VMName, string(b.BackupType), b.RepositoryID, string(b.State),
						strconv.Itoa(len(b.Disks)), humanSize(b.BytesTransferred), humanTime(b.CreatedAt),
					})
				}
				p.table([]string{"backup", "vm", "type", "repository", "state", "disks", "received", "created"}, rows)
			})
		}),
	}
	c.Flags().StringVar(&q.VMName, "vm", "", "only of the VM of this `NAME`")
	c.Flags().StringVar((*string)(&q.State), "state", "", "only in this `STATE`")
	pageFlags(c, &q.Limit, &q.Cursor)
	return c
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
		"directory", b.Directory, "created", humanTime(b.CreatedAt), "updated", humanTime(b.UpdatedAt), "ended", humanTime(b.EndedAt),
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
	p.table([]string{"disk", "key", "size", "received", "complete", "port", "export", "result", "change id"}, rows)
}
