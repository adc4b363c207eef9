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
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

// consolidateCommand is backup synthetic-full under its old name, for scripts.
func consolidateCommand(a *command.App) *cobra.Command {
	c := syntheticFullCommand(a)
	c.Use, c.Hidden = "consolidate BACKUP", true
	return c
}

func syntheticFullCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "synthetic-full BACKUP", Short: "Make a full backup of an incremental and its chain",
		Long: `Make a full backup of an incremental and its chain, by a merge in the repository: a synthetic full. The restore point keeps
its id, its time and its content, and no longer has a parent. Its children stay based on it. The VM is not read.

New images are made beside the old ones, checked and compared, and replace them in one step. The restore point can be restored at
any time. During the merge, the repository needs space for the new images. Interrupting the command stops the wait, not the merge.
To stop the merge: sendensectl backup cancel --merge BACKUP.

` + reference.Help,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RestorePoints),
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			stop := showMerge(ctx, a, args[0])
			b, err := c.SyntheticFull(ctx, args[0])
			stop()
			if err != nil {
				return err
			}
			return a.Show(b, func(p *output.Printer) { p.Line("restore point %s is a full backup and has no parent", b.BackupID) })
		}),
	}
}

// mergeEvery is the interval of the progress of a merge.
var mergeEvery = time.Second

// showMerge shows the progress of a merge, on a terminal only. It uses its own connection.
func showMerge(ctx context.Context, a *command.App, id string) (stop func()) {
	if !terminal.Is(a.Stderr) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := rpc.Dial(ctx, a.Socket)
		if err != nil {
			return // the other connection reports the error
		}
		defer c.Close()
		for {
			select {
			case <-time.After(mergeEvery):
			case <-ctx.Done():
				fmt.Fprint(a.Stderr, "\r\x1b[K")
				return
			}
			if b, err := c.GetBackup(ctx, id); err == nil && b.Merge != nil {
				fmt.Fprintf(a.Stderr, "\r\x1b[K%s: %s", human.Safe(id), describe.Merge(b.Merge))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
