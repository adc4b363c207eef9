package restore

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/serving"
	"github.com/sendense/backup-agent/rpc"
)

func startCommand(a *command.App) *cobra.Command {
	var r rpc.RestoreRequest
	var expires time.Duration
	c := &cobra.Command{
		Use: "start BACKUP", Short: "Serve a restore point over NBD",
		Long: `Serve a restore point over NBD: an export per disk, all of the one instant of the backup, read-only. Whatever reads NBD
reads them: qemu-img convert, nbdcopy, nbdfuse, nbd-client, or a virtual machine.

With --writable clients may also write, so that the VM can be booted from its backup. What they write lies in overlays of
this restore alone, and is thrown away at its end; the restore point stays as it is.

It ends when it is stopped, or when its time is over and no client is connected.

` + serving.DamageHelp,
		Example: `  sendensectl restore start backup-pgtest1-1795422015
  sendensectl restore start backup-pgtest1-1795422015 --writable --disk 0 --disk 1 --expires 2h`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RestorePoints),
		PreRunE: func(_ *cobra.Command, args []string) error {
			r.BackupID = args[0]
			r.LifetimeSeconds = int64(expires / time.Second)
			if expires != 0 && expires < time.Second {
				return fmt.Errorf("--expires %s: want a second or more, like 2h", expires)
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
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
	c.Flags().IntSliceVar(&r.Disks, "disk", nil, "only the disk of this `ID`; may be repeated")
	serving.DamageFlag(c, &r.DespiteDamage)
	c.Flags().BoolVar(&r.Writable, "writable", false, "let clients write; what they write is thrown away at the end")
	c.Flags().StringVar(&r.RequestID, "request-id", "", "your own `ID` of this request: repeating it starts nothing new")
	c.Flags().DurationVar(&expires, "expires", 0, "how long it is served, a `TIME` like 2h; the agent's own, if not given")
	return c
}
