package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) restoreCommand() *cobra.Command {
	return noun("restore", "Restore points that are served, and disks and files out of them",
		a.restoreStart(), a.restoreList(), a.restoreShow(), a.restoreStop(), a.restoreWatch(), a.restoreDisk(), a.restoreFiles())
}

func (a *app) restoreStart() *cobra.Command {
	var r rpc.RestoreRequest
	var expires time.Duration
	c := &cobra.Command{
		Use: "start BACKUP", Short: "Serve a restore point over NBD",
		Long: `Serve a restore point over NBD: an export per disk, all of the one instant of the backup, read-only. Whatever reads NBD
reads them: qemu-img convert, nbdcopy, nbdfuse, nbd-client, or a virtual machine.

With --writable clients may also write, so that the VM can be booted from its backup. What they write lies in overlays of
this restore alone, and is thrown away at its end; the restore point stays as it is.

It ends when it is stopped, or when its time is over and no client is connected.

` + damageHelp,
		Example: `  sendensectl restore start backup-pgtest1-1795422015
  sendensectl restore start backup-pgtest1-1795422015 --writable --disk 0 --disk 1 --expires 2h`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(restorePoints),
		PreRunE: func(_ *cobra.Command, args []string) error {
			r.BackupID = args[0]
			r.LifetimeSeconds = int64(expires / time.Second)
			if expires != 0 && expires < time.Second {
				return fmt.Errorf("--expires %s: want a second or more, like 2h", expires)
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			started, err := c.StartRestore(ctx, r)
			if err != nil {
				return err
			}
			if err := a.show(started, func(p *printer) { printRestore(p, started) }); err != nil {
				return err
			}
			return damageOf(started.Damage)
		}),
	}
	c.Flags().IntSliceVar(&r.Disks, "disk", nil, "only the disk of this `ID`; may be repeated")
	damageFlag(c, &r.DespiteDamage)
	c.Flags().BoolVar(&r.Writable, "writable", false, "let clients write; what they write is thrown away at the end")
	c.Flags().StringVar(&r.RequestID, "request-id", "", "your own `ID` of this request: repeating it starts nothing new")
	c.Flags().DurationVar(&expires, "expires", 0, "how long it is served, a `TIME` like 2h; the agent's own, if not given")
	return c
}

func (a *app) restoreList() *cobra.Command {
	var q rpc.RestoreQuery
	c := &cobra.Command{Use: "list", Short: "List the restores that are served and the last that have ended", Args: noArgs}
	c.Flags().BoolVar(&q.ActiveOnly, "active", false, "only those that have not ended")
	return a.look(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*printer), error) {
		list, err := c.ListRestores(ctx, q)
		return list, func(p *printer) { printRestores(p, list.Restores) }, err
	})
}

func printRestores(p *printer, list []rpc.Restore) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{
			r.RestoreID, string(r.State), r.VMName, r.BackupID, strconv.Itoa(len(r.Disks)), humanSize(r.TotalBytes), yesNo(r.Writable),
			shortTime(r.CreatedAt), shortTime(r.ExpiresAt), shortTime(r.EndedAt),
		})
	}
	p.table([]column{
		{title: "restore"},
		{title: "state"},
		{title: "vm", most: nameWidth},
		{title: "backup", rank: 1},
		{title: "disks", rank: 5},
		{title: "size", rank: 4},
		{title: "writable", rank: 3},
		{title: "started", rank: 6},
		{title: "expires", rank: 2},
		{title: "ended", rank: 7},
	}, rows)
}

func (a *app) restoreShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show RESTORE", Short: "Show a restore and where its disks are served",
		Args: oneArg, ValidArgsFunction: a.completeFirst(anyRestores),
	}
	return a.look(c, func(ctx context.Context, c *rpc.Client, args []string) (any, func(*printer), error) {
		r, err := c.GetRestore(ctx, args[0])
		return r, func(p *printer) { printRestore(p, r) }, err
	})
}

func (a *app) restoreStop() *cobra.Command {
	return &cobra.Command{
		Use: "stop RESTORE", Short: "End a restore, whoever is connected",
		Args: oneArg, ValidArgsFunction: a.completeFirst(activeRestores),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.StopRestore(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(r, func(p *printer) { p.line("restore %s is %s", r.RestoreID, r.State) })
		}),
	}
}

// digestsText says what became of the comparison with the digests; nothing where none was asked for.
func digestsText(r rpc.Restore) string {
	switch {
	case r.Progress != nil:
		return fmt.Sprintf("%s of %s read", humanSize(r.Progress.BytesDone), humanSize(r.Progress.BytesTotal))
	case r.DigestsVerified:
		return "every image is what was written"
	}
	return ""
}

func printRestore(p *printer, r rpc.Restore) {
	access := "read-only"
	if r.Writable {
		access = "writable, thrown away at the end"
	}
	stands := ""
	if len(r.Points) > 1 {
		stands = strings.Join(r.Points[1:], ", ")
	}
	p.pairs("restore", r.RestoreID, "backup", r.BackupID, "stands on", stands, "vm", r.VMName, "repository", r.RepositoryID,
		"request", r.RequestID, "state", string(r.State), "access", access, "size", humanSize(r.TotalBytes), "started", humanTime(r.CreatedAt),
		"expires", humanTime(r.ExpiresAt), "ended", humanTime(r.EndedAt), "targets", r.NBDTargetsString, "files", r.FilesSocket, "reader", r.FilesUnit, "digests", digestsText(r))
	for _, w := range r.Warnings {
		p.pairs("warning", w)
	}
	if f := r.Failure; f != nil {
		p.pairs("failure", string(f.Reason)+": "+f.Message, "hint", f.Hint, "unit", f.Unit)
		for _, line := range f.Journal {
			p.line("  %s", line)
		}
	}
	p.line("")
	var rows [][]string
	for _, d := range r.Disks {
		rows = append(rows, []string{strconv.Itoa(d.DiskID), strconv.Itoa(d.DiskKey), humanSize(d.CapacityBytes), d.NBDURL, d.Label})
	}
	p.table([]column{{title: "disk"}, {title: "key", rank: 1}, {title: "size"}, {title: "url"}, {title: "label", rank: 2}}, rows)
}
