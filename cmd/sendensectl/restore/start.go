package restore

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/serving"
	"github.com/sendense/backup-agent/rpc"
)

func startCommand(a *command.App) *cobra.Command {
	var r rpc.RestoreRequest
	var expires time.Duration
	c := &cobra.Command{
		Use: "start BACKUP", Short: "Serve a restore point over NBD",
		Long: `Serve a restore point over NBD: one read-only export per disk, all from the same instant. Every NBD client can read them:
qemu-img convert, nbdcopy, nbdfuse, nbd-client, or a virtual machine.

With --writable, clients can also write, so that the VM can boot from its backup. The written data is in overlays of this restore.
It is discarded when the restore ends. The restore point does not change.

The restore ends when you stop it (restore stop), or when it expires and no client is connected.

` + serving.DamageHelp + "\n\n" + reference.Help,
		Example: `  sendensectl restore start backup-pgtest1-1795422015
  sendensectl restore start pgtest1@latest --writable --disk 0 --disk 1 --expires 2h`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RestorePoints),
		PreRunE: func(*cobra.Command, []string) error {
			r.LifetimeSeconds = int64(expires / time.Second)
			if expires != 0 && expires < time.Second {
				return fmt.Errorf("--expires %s: want a second or more, such as 2h", expires)
			}
			return nil
		},
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			r.BackupID = args[0]
			started, err := c.StartRestore(ctx, r)
			if err != nil {
				return err
			}
			if err := a.Show(started, func(p *output.Printer) { printRestore(p, started) }); err != nil {
				return err
			}
			return serving.DamageError(started.Damage)
		}),
	}
	c.Flags().IntSliceVar(&r.Disks, "disk", nil, "only the disk with this `ID`; can be repeated")
	serving.DamageFlag(c, &r.DespiteDamage)
	c.Flags().BoolVar(&r.Writable, "writable", false, "let clients write; the written data is discarded at the end")
	c.Flags().StringVar(&r.RequestID, "request-id", "", "your own `ID` of this request; a repeated request with the same id starts nothing new")
	c.Flags().DurationVar(&expires, "expires", 0, "serve it for this `TIME`, such as 2h (default: as configured in the agent)")
	return c
}
