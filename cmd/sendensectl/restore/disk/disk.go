// Package disk is the command restore disk: it has one disk served, copies it with qemu-img, and compares what was written.
package disk

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/serving"
	"github.com/sendense/backup-agent/rpc"
)

// diskFormats are the formats that a disk can be written in.
var diskFormats = []string{"raw", "qcow2", "vmdk"}

// A diskCopy is one disk of a restore point that is written to a file or device.
type diskCopy struct {
	BackupID      string `json:"backup_id"`
	DiskID        int    `json:"disk_id"`
	Target        string `json:"target"`
	Format        string `json:"format"`
	CapacityBytes int64  `json:"capacity_bytes"`
	Compared      bool   `json:"compared"` // what was written was read back and compared with what was served

	// DigestsVerified says that every image was read and compared with its digest before.
	DigestsVerified bool                `json:"digests_verified"`
	Damage          []rpc.RestoreDamage `json:"damage,omitempty"` // what is wrong with what was restored

	force, skipVerify, despite, digests bool
}

func Command(a *command.App) *cobra.Command {
	var d diskCopy
	c := &cobra.Command{
		Use: "disk BACKUP DISK FILE|DEVICE", Short: "Write a whole disk of a restore point to a file or a device",
		Long: `Write a whole disk of a restore point to a file or a block device, as it was at the instant of the backup, with the rights
of whoever calls. What was written is read back and compared with what the agent served: that proves the copy, and not what it was made
from. With --verify-digests every image of the disk, with all it stands on, is first read whole and compared with the digest that was
recorded when the backup finished, at full speed (verify.rate_limit does not count); Ctrl-C ends it. What differs is refused.

` + serving.DamageHelp + `

A file gets its name when it is whole: one that is not empty is replaced only with --force, and only then. A device that
is mounted or in use, or that holds data, is written to only with --force. ` + destination.DeviceHelp + `

DISK is the number of the disk, as "backup show" has it.`,
		Example: `  sendensectl restore disk backup-pgtest1-1795422015 0 pgtest1.vmdk --format vmdk
  sendensectl restore disk backup-pgtest1-1795422015 0 /dev/vg0/pgtest1`,
		Args: command.WantArgs(3, 3), ValidArgsFunction: a.CompleteDisk,
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			d.BackupID, d.Target = args[0], args[2]
			if d.DiskID, err = strconv.Atoi(args[1]); err != nil {
				return fmt.Errorf("disk %q: want the number of a disk, such as 0", args[1])
			}
			if !slices.Contains(diskFormats, d.Format) {
				return fmt.Errorf("--format %s: want %s", d.Format, strings.Join(diskFormats, ", "))
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			if err := copyDisk(ctx, a, c, &d); err != nil {
				return err
			}
			if err := a.Show(d, func(p *output.Printer) { p.Line("%s", d.done()) }); err != nil {
				return err
			}
			return serving.DamageError(d.Damage)
		}),
	}
	c.Flags().StringVar(&d.Format, "format", "raw", "`FORMAT` of what is written: raw, qcow2 or vmdk")
	c.Flags().BoolVar(&d.force, "force", false, "replace a file that is not empty, write to a device that is in use or holds data")
	c.Flags().BoolVar(&d.digests, "verify-digests", false, "first read the restore point whole and compare it with its digests")
	serving.DamageFlag(c, &d.despite)
	c.Flags().BoolVar(&d.skipVerify, "no-verify", false, "do not read back what was written")
	command.CompleteWords(c, "format", diskFormats)
	return c
}

// done says what was done, and claims no more than that.
func (d *diskCopy) done() string {
	how := "read back and compared with what was served"
	if !d.Compared {
		how = "not read back"
	}
	switch {
	case len(d.Damage) > 0:
		how += "; the restore point is damaged"
	case d.DigestsVerified:
		how += "; the restore point is verified by its digests"
	}
	return fmt.Sprintf("disk %d of %s restored to %s: %s, %s, %s", d.DiskID, d.BackupID, d.Target, d.Format, human.Size(d.CapacityBytes), how)
}

// copyDisk serves the one disk, copies and compares it, and ends the serving, whatever happens.
func copyDisk(ctx context.Context, a *command.App, c *rpc.Client, d *diskCopy) error {
	t, err := destination.OpenDisk(ctx, d.Target, d.Format, d.force)
	if err != nil {
		return err
	}
	defer t.Close()
	r, err := serving.Start(ctx, a, c, rpc.RestoreRequest{BackupID: d.BackupID, Disks: []int{d.DiskID}, DespiteDamage: d.despite, VerifyDigests: d.digests})
	if err != nil {
		return err
	}
	serving.Warn(a, r)
	d.DigestsVerified, d.Damage = r.DigestsVerified, r.Damage
	err = copyServed(ctx, a, r.Disks[0], d, t)
	if err != nil && ctx.Err() != nil {
		err = &interruptedCopyError{target: d.Target, device: t.Device}
	}
	serving.Stop(ctx, a, r.RestoreID)
	return err
}

func copyServed(ctx context.Context, a *command.App, served rpc.RestoreDisk, d *diskCopy, t *destination.Disk) error {
	d.CapacityBytes = served.CapacityBytes
	if err := t.Fits(served.CapacityBytes); err != nil {
		return err
	}
	view := progress.NewGauge(a.Stderr, a.TellEvery, fmt.Sprintf("disk %d", d.DiskID), served.CapacityBytes)
	defer view.Close()
	view.Say("copying")
	if err := convert(ctx, served.NBDURL, t, d.Format, view); err != nil {
		return err
	}
	if err := t.Settle(); err != nil {
		return err
	}
	if !d.skipVerify {
		view.Say("comparing what was written with what is served")
		if err := compare(ctx, served.NBDURL, t, d.Format, served.CapacityBytes, view); err != nil {
			return err
		}
		d.Compared = true
	}
	return t.Commit()
}

// An interruptedCopyError says that the user stopped a copy, and what is left of it.
type interruptedCopyError struct {
	target string
	device bool
}

func (e *interruptedCopyError) Error() string {
	if e.device {
		return "interrupted: " + e.target + " holds a part of the disk"
	}
	return "interrupted: " + e.target + " is as it was before"
}
