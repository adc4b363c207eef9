// Package disk has the command "restore disk". It serves one disk, copies it with qemu-img, and compares the copy.
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
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/serving"
	"github.com/sendense/backup-agent/rpc"
)

// diskFormats are the formats of the copy.
var diskFormats = []string{"raw", "qcow2", "vmdk"}

// A diskCopy is the copy of one disk to a file or device.
type diskCopy struct {
	BackupID      string `json:"backup_id"`
	DiskID        int    `json:"disk_id"`
	Target        string `json:"target"`
	Format        string `json:"format"`
	CapacityBytes int64  `json:"capacity_bytes"`
	Compared      bool   `json:"compared"` // the copy was read back and compared with the export

	// DigestsVerified says that every image was compared with its digest before the copy.
	DigestsVerified bool                `json:"digests_verified"`
	Damage          []rpc.RestoreDamage `json:"damage,omitempty"` // of the restore point

	force, skipVerify, despite, digests bool
}

// Command makes "restore disk".
func Command(a *command.App) *cobra.Command {
	var d diskCopy
	c := &cobra.Command{
		Use: "disk BACKUP DISK FILE|DEVICE", Short: "Write a whole disk of a restore point to a file or a device",
		Long: `Write a whole disk of a restore point to a file or a block device. The command writes with the rights of the user who runs it.

The copy is read back and compared with what the agent serves. This verifies the copy, not the restore point. With --verify-digests,
every image in the chain of the disk is first read completely and compared with the digest that was recorded when the backup
finished. This runs at full speed (verify.rate_limit does not apply). Ctrl-C stops it. If an image differs, the restore is refused.

` + serving.DamageHelp + `

A file gets its name when it is complete. An existing file that is not empty is replaced only with --force, and only when the new one
is complete. A device that is in use or holds data is written only with --force.

` + destination.DeviceHelp + `

DISK is the number of the disk, as shown by "backup show".

` + reference.Help,
		Example: `  sendensectl restore disk backup-pgtest1-1795422015 0 pgtest1.vmdk --format vmdk
  sendensectl restore disk pgtest1@2026-11-30 0 /dev/vg0/pgtest1`,
		Args: command.WantArgs(3, 3), ValidArgsFunction: a.CompleteDisk,
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			d.Target = args[2]
			if d.DiskID, err = strconv.Atoi(args[1]); err != nil {
				return fmt.Errorf("disk %q: want the number of a disk, such as 0", args[1])
			}
			if !slices.Contains(diskFormats, d.Format) {
				return fmt.Errorf("--format %s: want %s", d.Format, strings.Join(diskFormats, ", "))
			}
			return nil
		},
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			d.BackupID = args[0]
			if err := copyDisk(ctx, a, c, &d); err != nil {
				return err
			}
			if err := a.Show(d, func(p *output.Printer) { p.Line("%s", d.done()) }); err != nil {
				return err
			}
			return serving.DamageError(d.Damage)
		}),
	}
	c.Flags().StringVar(&d.Format, "format", "raw", "`FORMAT` of the copy: raw, qcow2 or vmdk")
	c.Flags().BoolVar(&d.force, "force", false, "replace a file that is not empty, or overwrite a device that is in use or holds data")
	c.Flags().BoolVar(&d.digests, "verify-digests", false, "first compare the restore point with its digests")
	serving.DamageFlag(c, &d.despite)
	c.Flags().BoolVar(&d.skipVerify, "no-verify", false, "do not read back and compare the copy")
	command.CompleteWords(c, "format", diskFormats)
	return c
}

// done says what was done and verified, and not more.
func (d *diskCopy) done() string {
	how := "read back and compared with the restore point"
	if !d.Compared {
		how = "not read back"
	}
	switch {
	case len(d.Damage) > 0:
		how += "; the restore point is damaged"
	case d.DigestsVerified:
		how += "; the restore point matches its digests"
	}
	return fmt.Sprintf("disk %d of %s restored to %s: %s, %s, %s", d.DiskID, d.BackupID, d.Target, d.Format, human.Size(d.CapacityBytes), how)
}

// copyDisk serves the disk, copies and compares it, and stops the restore in every case.
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
	view := progress.NewGauge(a.Stderr, a.ProgressEvery, fmt.Sprintf("disk %d", d.DiskID), served.CapacityBytes)
	defer view.Close()
	view.Say("copying")
	if err := convert(ctx, served.NBDURL, t, d.Format, view); err != nil {
		return err
	}
	if err := t.Settle(); err != nil {
		return err
	}
	if !d.skipVerify {
		view.Say("comparing the copy with the restore point")
		if err := compare(ctx, served.NBDURL, t, d.Format, served.CapacityBytes, view); err != nil {
			return err
		}
		d.Compared = true
	}
	return t.Commit()
}

// An interruptedCopyError says that the user stopped a copy, and what remains of it.
type interruptedCopyError struct {
	target string
	device bool
}

func (e *interruptedCopyError) Error() string {
	if e.device {
		return "interrupted: " + e.target + " contains only a part of the disk"
	}
	return "interrupted: " + e.target + " is unchanged"
}
