package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupDelete() *cobra.Command {
	var r rpc.DeleteRequest
	var yes bool
	c := &cobra.Command{
		Use: "delete BACKUP", Short: "Remove a backup that has ended: restore point and record",
		Long: `Remove a backup that has ended: its images, its manifest and its record. What is removed cannot be brought back.

A backup that others stand on stays; delete those first, the newest first. On a terminal you are asked before anything
is removed, unless you say --yes; a script has to say it.`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(endedBackups),
		PreRunE: func(_ *cobra.Command, args []string) error {
			r.BackupID = args[0]
			if !yes && !isTerminal(a.stdin) {
				return errors.New("there is nobody to ask: say --yes to delete without a question")
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			if !yes {
				if err := a.confirmDelete(ctx, c, r.BackupID); err != nil {
					return err
				}
			}
			if err := c.DeleteBackup(ctx, r); err != nil {
				return err
			}
			return a.show(rpc.BackupRef{BackupID: r.BackupID}, func(p *printer) { p.line("backup %s deleted", r.BackupID) })
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&r.MissingOK, "missing-ok", false, "also when the directory of the restore point is gone: only the record is left to be removed")
	return c
}

// errKept ends a deletion that the user thought better of.
var errKept = errors.New("nothing was deleted")

// confirmDelete asks the user, who sees what it is about.
func (a *app) confirmDelete(ctx context.Context, c *rpc.Client, id string) error {
	b, err := c.GetBackup(ctx, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s: %s backup of %s, %s, %s in %d disks, of %s\nDelete it for good? [y/N] ",
		safe(b.BackupID), b.BackupType, safe(b.VMName), b.State, humanSize(b.TotalBytes), len(b.Disks), humanTime(b.CreatedAt))
	return a.confirmed(ctx)
}

// confirmed waits for a yes.
func (a *app) confirmed(ctx context.Context) error {
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be interrupted; the process ends soon
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errKept
	case <-ctx.Done():
		return ctx.Err()
	}
}
