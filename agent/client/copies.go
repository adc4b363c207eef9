package client

import (
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// RecordCopy tells how a disk was copied. SBC copies changes only after it has asked from where while it was connected, which is
// on record since before it was answered; otherwise it has copied the disk from beginning to end. The change id that it has
// reported belongs to the disk that it has read: when its UUID is not that of the parent's disk, the disk was replaced, or its
// change tracking began anew, and the image shall not stand on one of another disk.
func RecordCopy(b record.Backup, d *record.DiskRun) error {
	if d.Copied != "" {
		return nil
	}
	another := d.Content == record.Changes && differentDisks(d.ParentChangeID, d.ChangeID)
	switch {
	case d.AsChanges && another:
		e := fault.New(fault.ImageFailed, "backup %s: disk %d: the client copied the changes since %s, but reports the change id %s "+
			"of another disk, so the copied data is unknown", b.ID, d.DiskID, d.ParentChangeID, d.ChangeID)
		e.BackupID, e.DiskID, e.Hint = b.ID, new(d.DiskID), "make a full backup: disks of the VM have changed places"
		return e
	case d.AsChanges:
		d.Copied, d.CopiedWhy = record.CopiedChanges, "changes since "+d.ParentChangeID
		return nil
	case another:
		d.Change, d.Content = record.Replaced, record.WholeDisk
		d.CopiedWhy = fmt.Sprintf("the disk was replaced, or its change tracking was reset: its change id is %s, that of the parent's disk is %s",
			d.ChangeID, d.ParentChangeID)
	case b.Type == record.Full:
		d.CopiedWhy = "full backup"
	case d.Change == record.Added:
		d.CopiedWhy = "the disk was added"
	case d.Change == record.Replaced:
		d.CopiedWhy = "the disk was replaced: it is smaller than the parent's"
	case d.ParentChangeID == "":
		d.CopiedWhy = "the parent has no change id of the disk"
	default:
		d.CopiedWhy = "the client found no change id of this disk when it asked for one"
	}
	d.Copied = record.CopiedWhole
	return nil
}

// differentDisks says whether two change ids are of different disks. Of what is no change id of VMware, "UUID/number", nothing
// is known.
func differentDisks(one, other string) bool {
	a, _, known := strings.Cut(one, "/")
	b, _, alsoKnown := strings.Cut(other, "/")
	return known && alsoKnown && !strings.EqualFold(a, b)
}
