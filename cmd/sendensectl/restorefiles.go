package main

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

func (a *app) restoreFiles() *cobra.Command {
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

` + damageHelp,
		Example: `  sendensectl restore files backup-pgtest1-1795422015 0
  sendensectl restore files backup-pgtest1-1795422015 0 /etc --volume vg0/root
  sendensectl restore files backup-pgtest1-1795422015 0 /etc/fstab --to .
  sendensectl restore files backup-pgtest1-1795422015 0 /var/lib/pgsql --to - | tar --list`,
		Args: wantArgs(2, 3), ValidArgsFunction: a.completeFiles,
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
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error { return a.files(ctx, c, w) }),
	}
	c.Flags().StringVar(&w.volume, "volume", "", "the `VOLUME` that PATH is on: p1, VG/LV, disk; needed where several have it")
	damageFlag(c, &w.despite)
	c.Flags().StringVar(&w.to, "to", "", "copy PATH to this `FILE` or directory; - is the standard output")
	return c
}

// check looks, before anything is started, whether there is where to write to.
func (w *filesWanted) check(a *app) error {
	if w.to == "-" && isTerminal(a.stdout) {
		return errors.New("--to - would write to this terminal: send it to a file or a program")
	}
	return nil
}

// completeFiles completes a restore point and one of its disks.
func (a *app) completeFiles(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) < 2 {
		return a.completeDisk(c, args, prefix)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// files has the one disk served and read, and ends that, whatever happens.
func (a *app) files(ctx context.Context, c *rpc.Client, w filesWanted) error {
	var place *place
	if w.to != "" && w.to != "-" {
		var err error
		if place, err = findPlace(w.to, w.path); err != nil {
			return err
		}
	}
	if canDraw(a.stderr) {
		fmt.Fprintln(a.stderr, "starting what reads the disk")
	}
	r, err := a.serve(ctx, c, rpc.RestoreRequest{BackupID: w.backupID, Disks: []int{w.disk}, Files: true, DespiteDamage: w.despite})
	if err != nil {
		return err
	}
	a.warn(r)
	switch {
	case w.path == "":
		err = a.listVolumes(ctx, r, w)
	case w.to == "":
		err = a.listFiles(ctx, r, w)
	default:
		err = a.copyFiles(ctx, r, w, place)
	}
	if err != nil {
		err = a.explain(ctx, r.RestoreID, err)
	}
	a.endServing(ctx, r.RestoreID)
	return cmp.Or(err, damageOf(r))
}

// explain finds out why the reader ended. The agent learns of it in the same moment as we do.
func (a *app) explain(ctx context.Context, id string, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, errInterrupted):
		return err // which says what is left
	case ctx.Err() != nil:
		return errInterrupted
	case !errors.Is(err, rpc.ErrFilesEnded):
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	for {
		if c, dialled := rpc.Dial(ctx, a.socket); dialled == nil {
			r, got := c.GetRestore(ctx, id)
			c.Close()
			if got == nil && r.Failure != nil {
				e := r.Failure.AsError()
				e.Data.RestoreID = id
				return e
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

// listing is what is printed as JSON.
type listing struct {
	BackupID string       `json:"backup_id"`
	DiskID   int          `json:"disk_id"`
	Volumes  []rpc.Volume `json:"volumes,omitempty"`
	Volume   string       `json:"volume,omitempty"`
	Path     string       `json:"path,omitempty"`
	Entries  []listed     `json:"entries,omitempty"`
}

// listVolumes lists what is on the disk, and of a disk with one volume what is in that.
func (a *app) listVolumes(ctx context.Context, r rpc.Restore, w filesWanted) error {
	answer, _, err := rpc.AskFiles(ctx, r.FilesSocket, rpc.FilesRequest{Op: rpc.FilesVolumes})
	if err != nil {
		return err
	}
	l := listing{BackupID: w.backupID, DiskID: w.disk, Volumes: answer.Volumes}
	if len(l.Volumes) == 1 && l.Volumes[0].Readable {
		answer, _, err := rpc.AskFiles(ctx, r.FilesSocket, rpc.FilesRequest{Op: rpc.FilesList, Volume: l.Volumes[0].Name, Path: []byte("/")})
		if err != nil {
			return err
		}
		l.Volume, l.Path, l.Entries = answer.Volume, "/", listedOf(answer.Entries)
	}
	return a.show(l, func(p *printer) {
		var rows [][]string
		for _, v := range l.Volumes {
			rows = append(rows, []string{v.Name, v.Type, humanSize(v.SizeBytes), yesNo(v.Readable), v.Label})
		}
		p.table([]column{{title: "volume"}, {title: "type"}, {title: "size", rank: 1}, {title: "readable"}, {title: "label", rank: 2}}, rows)
		p.none(len(rows), "nothing was found on the disk: no partition, no logical volume, no file system")
		if l.Path != "" {
			p.line("")
			printListed(p, l.Entries)
		}
	})
}

// listFiles lists a directory, or what else is at the path.
func (a *app) listFiles(ctx context.Context, r rpc.Restore, w filesWanted) error {
	answer, _, err := rpc.AskFiles(ctx, r.FilesSocket, rpc.FilesRequest{Op: rpc.FilesList, Volume: w.volume, Path: []byte(w.path)})
	if err != nil {
		return err
	}
	entries := answer.Entries
	if answer.Entry != nil && answer.Entry.Kind() != rpc.ModeDir {
		entries = []rpc.FileEntry{*answer.Entry}
	}
	l := listing{BackupID: w.backupID, DiskID: w.disk, Volume: answer.Volume, Path: string(answer.Path), Entries: listedOf(entries)}
	return a.show(l, func(p *printer) {
		printListed(p, l.Entries)
		p.none(len(entries), "the directory is empty")
	})
}
