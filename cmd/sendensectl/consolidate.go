package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupConsolidate() *cobra.Command {
	return &cobra.Command{
		Use: "consolidate BACKUP", Short: "Make a full backup of an incremental and all it stands on",
		Long: `Make a full backup of an incremental and all that it stands on, out of what is in the repository: a synthetic full backup.
The restore point keeps its id, its time and what it holds, and stands on nothing any more; what stands on it goes on to do
so. The VM is not asked for anything.

It is copied, checked and compared before it takes the old one's place, in one step: whatever happens meanwhile, it can be
restored. For that time the repository needs the room of the new images. Interrupting the command stops the waiting; to stop
the consolidation: sendensectl backup cancel BACKUP.`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(restorePoints),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			stop := a.tellRewrite(ctx, args[0])
			b, err := c.ConsolidateBackup(ctx, args[0])
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
