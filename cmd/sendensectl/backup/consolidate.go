package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

func consolidateCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "consolidate BACKUP", Short: "Make a full backup of an incremental and all it stands on",
		Long: `Make a full backup of an incremental and all that it stands on, out of what is in the repository: a synthetic full backup.
The restore point keeps its id, its time and what it holds, and stands on nothing any more; what stands on it goes on to do
so. The VM is not asked for anything.

It is copied, checked and compared before it takes the old one's place, in one step: whatever happens meanwhile, it can be
restored. For that time the repository needs the room of the new images. Interrupting the command stops the waiting; to stop
the consolidation: sendensectl backup cancel BACKUP.`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RestorePoints),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			stop := tellRewrite(ctx, a, args[0])
			b, err := c.ConsolidateBackup(ctx, args[0])
			stop()
			if err != nil {
				return err
			}
			return a.Show(b, func(p *output.Printer) { p.Line("backup %s is a full backup, and stands on nothing", b.BackupID) })
		}),
	}
}

// rewriteEvery is how often it is told how far a restore point's being written anew has come.
var rewriteEvery = time.Second

// tellRewrite tells, over a connection of its own, how far it has come: on a terminal.
func tellRewrite(ctx context.Context, a *command.App, id string) (stop func()) {
	if !terminal.Is(a.Stderr) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := rpc.Dial(ctx, a.Socket)
		if err != nil {
			return // the other connection says why
		}
		defer c.Close()
		for {
			select {
			case <-time.After(rewriteEvery):
			case <-ctx.Done():
				fmt.Fprint(a.Stderr, "\r\x1b[K")
				return
			}
			if b, err := c.GetBackup(ctx, id); err == nil && b.Rewrite != nil {
				fmt.Fprintf(a.Stderr, "\r\x1b[K%s: %s", human.Safe(id), describe.Merge(b.Rewrite))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
