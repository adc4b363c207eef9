package backup

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func cancelCommand(a *command.App) *cobra.Command {
	var of cancelFlags
	c := &cobra.Command{
		Use: "cancel BACKUP", Short: "Cancel a backup, or stop the merge or verification of a restore point",
		Long: `Cancel a backup in progress, and remove what it made.

If BACKUP is a restore point, the command stops its merge or verification instead. The restore point does not change. --merge and
--verify stop only that one.

` + reference.HelpActive,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveBackups),
		RunE: a.AskAbout(of.find, func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := of.cancel(ctx, c, args[0])
			if err != nil {
				return err
			}
			return a.Show(b, func(p *output.Printer) {
				if b.State == rpc.Completed {
					p.Line("stopped; restore point %s is unchanged", b.BackupID)
					return
				}
				p.Line("%s", ended(b))
			})
		}),
	}
	of.add(c)
	return c
}

// cancelFlags say what "backup cancel" stops of a restore point.
type cancelFlags struct{ merge, verify bool }

func (f *cancelFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.merge, "merge", false, "stop the merge of a restore point")
	c.Flags().BoolVar(&f.verify, "verify", false, "stop the verification of a restore point")
	c.MarkFlagsMutuallyExclusive("merge", "verify")
}

// find finds the backup in progress, or with a flag the restore point.
func (f *cancelFlags) find(ctx context.Context, c *rpc.Client, word string) (string, error) {
	if f.merge || f.verify {
		return command.ABackup(ctx, c, word)
	}
	return command.AnActiveBackup(ctx, c, word)
}

// cancel without a flag stops what is in progress: the backup, or else the merge or the verification.
func (f *cancelFlags) cancel(ctx context.Context, c *rpc.Client, id string) (rpc.Backup, error) {
	switch {
	case f.merge:
		return c.CancelMerge(ctx, id)
	case f.verify:
		return c.CancelVerify(ctx, id)
	}
	return c.CancelBackup(ctx, id)
}
