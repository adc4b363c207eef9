// Package files is the command restore files: it has one disk served and read, and lists or copies files out of it.
package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/serving"
	"github.com/sendense/backup-agent/rpc"
)

// filesWanted is what somebody wants of the files of a disk.
type filesWanted struct {
	backupID string
	disk     int
	path     string // "" for what is on the disk
	volume   string
	to       string // "" to list
	despite  bool   // of damage
}

func Command(a *command.App) *cobra.Command {
	var w filesWanted
	c := &cobra.Command{
		Use: "files BACKUP DISK [PATH]", Short: "List and copy single files out of a restore point",
		Long: `List and copy single files out of a disk of a restore point, as they were at the instant of the backup. Nothing is mounted
on this machine, and no root is needed: the kernel of a small virtual machine reads the disk, in a sandbox.

Without PATH it lists what is on the disk: partitions (p1), logical volumes (VG/LV), or the disk itself (disk). With PATH it lists
that directory. PATH is absolute, with "/" between its parts, also for Windows: /Users/ann/report.docx; there, large and small
letters are the same. Where several volumes have the path, say --volume.

With --to it copies, with the rights of whoever calls: a file, or a directory and all below it. If --to names a directory, the
copy is made in it, under its own name; otherwise it gets that name. What is there already is never replaced, and a copy gets
its name when it is whole. "--to -" writes a file to the standard output, and a directory as a tar archive.

Copies belong to whoever copies, and have no setuid or setgid bits. Symbolic links are copied as links, and none is followed
on this machine; of a PATH that leads through one, it is followed within its volume. Device nodes, FIFOs and sockets are left
out and named.

The virtual machine starts in some seconds with KVM, and in half a minute without. DISK is the number of the disk, as "backup
show" has it.

` + serving.DamageHelp,
		Example: `  sendensectl restore files backup-pgtest1-1795422015 0
  sendensectl restore files backup-pgtest1-1795422015 0 /etc --volume vg0/root
  sendensectl restore files backup-pgtest1-1795422015 0 /etc/fstab --to .
  sendensectl restore files backup-pgtest1-1795422015 0 /var/lib/pgsql --to - | tar --list`,
		Args: command.WantArgs(2, 3), ValidArgsFunction: completeFiles(a),
		PreRunE: func(c *cobra.Command, args []string) (err error) {
			w.backupID = args[0]
			if w.disk, err = strconv.Atoi(args[1]); err != nil {
				return fmt.Errorf("disk %q: want the number of a disk, such as 0", args[1])
			}
			if len(args) > 2 {
				if w.path = path.Clean("/" + args[2]); args[2] == "" || strings.ContainsRune(args[2], 0) {
					return fmt.Errorf("path %q: want an absolute path, such as /etc/hosts", args[2])
				}
			}
			if c.Flags().Changed("to") && (w.path == "" || w.to == "") {
				return errors.New("--to wants a PATH that is to be copied, and where to: a directory, a file that is not there, or -")
			}
			return w.check(a)
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error { return files(ctx, a, c, w) }),
	}
	c.Flags().StringVar(&w.volume, "volume", "", "the `VOLUME` that PATH is on: p1, VG/LV, disk; needed where several have it")
	serving.DamageFlag(c, &w.despite)
	c.Flags().StringVar(&w.to, "to", "", "copy PATH to this `FILE` or directory; - is the standard output")
	return c
}

// check looks, before anything is started, whether there is where to write to.
func (w *filesWanted) check(a *command.App) error {
	if w.to == "-" && terminal.Is(a.Stdout) {
		return errors.New("--to - would write to this terminal: send it to a file or a program")
	}
	return nil
}

// completeFiles completes a restore point and one of its disks.
func completeFiles(a *command.App) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) < 2 {
			return a.CompleteDisk(c, args, prefix)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// files has the one disk served and read, and ends that, whatever happens.
func files(ctx context.Context, a *command.App, c *rpc.Client, w filesWanted) error {
	var place *destination.Files
	if w.to != "" && w.to != "-" {
		var err error
		if place, err = destination.FindFiles(w.to, w.path); err != nil {
			return err
		}
	}
	if terminal.CanDraw(a.Stderr) {
		fmt.Fprintln(a.Stderr, "starting what reads the disk")
	}
	r, err := serving.Start(ctx, a, c, rpc.RestoreRequest{BackupID: w.backupID, Disks: []int{w.disk}, Files: true, DespiteDamage: w.despite})
	if err != nil {
		return err
	}
	serving.Warn(a, r)
	switch {
	case w.path == "":
		err = listVolumes(ctx, a, r, w)
	case w.to == "":
		err = listFiles(ctx, a, r, w)
	default:
		err = copyFiles(ctx, a, r, w, place)
	}
	if err != nil {
		err = explain(ctx, a, r.RestoreID, err)
	}
	serving.Stop(ctx, a, r.RestoreID)
	return cmp.Or(err, serving.DamageError(r.Damage))
}

// explain finds out why the reader ended. The agent learns of it in the same moment as we do.
func explain(ctx context.Context, a *command.App, id string, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, exit.ErrInterrupted):
		return err // which says what is left
	case ctx.Err() != nil:
		return exit.ErrInterrupted
	case !errors.Is(err, rpc.ErrFilesEnded):
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serving.StopWithin)
	defer cancel()
	for {
		if c, dialled := rpc.Dial(ctx, a.Socket); dialled == nil {
			r, got := c.GetRestore(ctx, id)
			c.Close()
			if got == nil && r.Failure != nil {
				return &rpc.Error{
					Code: r.Failure.Reason.Code(), Message: r.Failure.Message,
					Data: rpc.ErrorData{Reason: r.Failure.Reason, Hint: r.Failure.Hint, RestoreID: id, Unit: r.Failure.Unit, Journal: r.Failure.Journal},
				}
			}
			if got == nil && r.State.Ended() {
				return fmt.Errorf("%w: restore %s was ended", err, id)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
