// Package files has the command "restore files". It serves one disk, has it read in a sandbox, and lists or copies files.
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
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/serving"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// filesWanted is a request for files of a disk.
type filesWanted struct {
	backupID string
	disk     int
	path     string // "" to list the volumes
	volume   string
	to       string // "" to list
	despite  bool   // in spite of damage
}

// Command makes "restore files".
func Command(a *command.App) *cobra.Command {
	var w filesWanted
	c := &cobra.Command{
		Use: "files BACKUP DISK [PATH]", Short: "List and copy single files of a restore point",
		Long: `List and copy single files of a disk of a restore point. Nothing is mounted on this machine, and root is not needed: the kernel
of a small virtual machine reads the disk, in a sandbox.

Without PATH, the command lists the volumes of the disk: partitions (p1), logical volumes (VG/LV), or the disk itself (disk). With
PATH, it lists that directory. PATH is absolute and has "/" between its parts, also for Windows: /Users/ann/report.docx. Windows
paths ignore case. If several volumes have the path, add --volume.

With --to, the command copies a file, or a directory with everything in it. It writes with the rights of the user who runs it. If
--to is a directory, the copy is made in it with the same name. Otherwise --to is the new name. Existing files are never replaced. A
copy gets its name when it is complete. With "--to -", a file is written to the standard output, and a directory as a tar archive.

Copies belong to the user who runs the command, and have no setuid or setgid bits. Symbolic links are copied as links; on this
machine, no link is followed. Links in PATH are followed within the volume. Device nodes, FIFOs and sockets are skipped and listed.

The virtual machine starts in a few seconds with KVM, and in about 30 seconds without. DISK is the number of the disk, as shown by
"backup show".

` + serving.DamageHelp + "\n\n" + reference.Help,
		Example: `  sendensectl restore files backup-pgtest1-1795422015 0
  sendensectl restore files backup-pgtest1-1795422015 0 /etc --volume vg0/root
  sendensectl restore files pgtest1@latest 0 /etc/fstab --to .
  sendensectl restore files backup-pgtest1-1795422015 0 /var/lib/pgsql --to - | tar --list`,
		Args: command.WantArgs(2, 3), ValidArgsFunction: completeFiles(a),
		PreRunE: func(c *cobra.Command, args []string) (err error) {
			if w.disk, err = strconv.Atoi(args[1]); err != nil {
				return fmt.Errorf("disk %q: want the number of a disk, such as 0", args[1])
			}
			if len(args) > 2 {
				if w.path = path.Clean("/" + args[2]); args[2] == "" || strings.ContainsRune(args[2], 0) {
					return fmt.Errorf("path %q: want an absolute path, such as /etc/hosts", args[2])
				}
			}
			if c.Flags().Changed("to") && (w.path == "" || w.to == "") {
				return errors.New("--to: want a PATH to copy, and a destination: a directory, a new name, or -")
			}
			return w.check(a)
		},
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			w.backupID = args[0]
			return files(ctx, a, c, w)
		}),
	}
	c.Flags().StringVar(&w.volume, "volume", "", "`VOLUME` of PATH: p1, VG/LV or disk; needed if several volumes have PATH")
	serving.DamageFlag(c, &w.despite)
	c.Flags().StringVar(&w.to, "to", "", "copy PATH to this `FILE` or directory; - is the standard output")
	return c
}

// check checks the destination before anything is started.
func (w *filesWanted) check(a *command.App) error {
	if w.to == "-" && terminal.Is(a.Stdout) {
		return errors.New("--to - would write to this terminal: redirect the output to a file or a program")
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

// files serves the disk, lists or copies, and stops the restore in every case.
func files(ctx context.Context, a *command.App, c *rpc.Client, w filesWanted) error {
	var place *destination.Files
	if w.to != "" && w.to != "-" {
		var err error
		if place, err = destination.FindFiles(w.to, w.path); err != nil {
			return err
		}
	}
	if terminal.CanDraw(a.Stderr) {
		fmt.Fprintln(a.Stderr, "starting the reader of the disk")
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

// explain finds out why the reader ended. The agent learns of it at the same time as this program, so it may have to wait.
func explain(ctx context.Context, a *command.App, id string, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, exit.ErrInterrupted):
		return err // it says what remains
	case ctx.Err() != nil:
		return exit.ErrInterrupted
	case !errors.Is(err, guestfiles.ErrEnded):
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serving.StopWithin)
	defer cancel()
	for {
		if c, dialled := rpc.Dial(ctx, a.Socket); dialled == nil {
			r, got := c.GetRestore(ctx, id)
			c.Close()
			if got == nil && r.Failure != nil {
				e := r.Failure.AsError()
				e.Data.RestoreID = id
				return e
			}
			if got == nil && r.State.Ended() {
				return fmt.Errorf("%w: restore %s was stopped", err, id)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
