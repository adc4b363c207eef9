package client

import (
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// RecordCopy records how a disk was copied. SBC copies changes only if it asked for a change id while it was connected; the record
// says so before SBC gets the answer. Otherwise it has copied the whole disk. The reported change id belongs to the disk that SBC
// read. If its UUID differs from that of the parent's disk, the disk was replaced or its change tracking was reset, and the image
// must not be based on that of another disk.
func RecordCopy(b record.Backup, d *record.DiskRun) error {
	if d.Copied != "" {
		return nil
	}
	another := d.Content == record.Changes && differentDisks(d.ParentChangeID, d.ChangeID)
	switch {
	case d.AsChanges && another:
		return fault.New(fault.ImageFailed, "backup %s: disk %d: the client copied the changes since %s, but reports the change id %s "+
			"of another disk, so the copied data is unknown", b.ID, d.DiskID, d.ParentChangeID, d.ChangeID).OfBackup(b.ID).OfDisk(d.DiskID).
			WithHint("make a full backup: disks of the VM have changed places")
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

// differentDisks says whether two change ids belong to different disks. If one is not a change id of VMware, "UUID/number", it is
// false.
func differentDisks(one, other string) bool {
	a, _, known := strings.Cut(one, "/")
	b, _, alsoKnown := strings.Cut(other, "/")
	return known && alsoKnown && !strings.EqualFold(a, b)
}
