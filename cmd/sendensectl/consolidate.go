package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

// backupConsolidate is backup synthetic-full under its old name, which scripts may use.
func (a *app) backupConsolidate() *cobra.Command {
	c := a.backupSyntheticFull()
	c.Use, c.Hidden = "consolidate BACKUP", true
	return c
}

func (a *app) backupSyntheticFull() *cobra.Command {
	return &cobra.Command{
		Use: "synthetic-full BACKUP", Short: "Make a full backup of an incremental and its chain",
		Long: `Make a full backup of an incremental and its chain, by a merge in the repository: a synthetic full. The restore point keeps
its id, its time and its content, and has no parent any more. Its children stay based on it. The VM is not read.

New images are made beside the old ones, checked and compared, and replace them in one step. The restore point can be restored
at every moment. Meanwhile the repository needs room for the new images. Ctrl-C stops the waiting only. To stop the merge:
sendensectl backup cancel --merge BACKUP.`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(restorePoints),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			stop := a.tellRewrite(ctx, args[0])
			b, err := c.SyntheticFull(ctx, args[0])
			stop()
			if err != nil {
				return err
			}
			return a.show(b, func(p *printer) { p.line("backup %s is a full backup, and stands on nothing", b.BackupID) })
		}),
	}
}

// rewriteEvery is how often it is told how far a restore point's being written anew has come.
var rewriteEvery = time.Second

// tellRewrite tells, over a connection of its own, how far it has come: on a terminal.
func (a *app) tellRewrite(ctx context.Context, id string) (stop func()) {
	if !isTerminal(a.stderr) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := rpc.Dial(ctx, a.socket)
		if err != nil {
			return // the other connection says why
		}
		defer c.Close()
		for {
			select {
			case <-time.After(rewriteEvery):
			case <-ctx.Done():
				fmt.Fprint(a.stderr, "\r\x1b[K")
				return
			}
			if b, err := c.GetBackup(ctx, id); err == nil && b.Rewrite != nil {
				fmt.Fprintf(a.stderr, "\r\x1b[K%s: %s", safe(id), rewriteText(b.Rewrite))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// rewriteText says how far a restore point's being written anew has come.
func rewriteText(w *rpc.Rewrite) string {
	if w == nil {
		return ""
	}
	text := w.Phase + ", " + percent(w.Fraction)
	if w.Onto != "" {
		text += ", to stand on " + w.Onto
	}
	if w.WaitsFor != "" {
		text += ", waits for " + safe(w.WaitsFor)
	}
	return text
}

// rewrittenText says that a restore point was written anew.
func rewrittenText(w *rpc.Rewritten) string {
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("%s, with %s merged into it", humanTime(w.At), count(w.Merged, "other restore point"))
	if w.Synthetic {
		text += ": a synthetic full backup"
	}
	return text
}
