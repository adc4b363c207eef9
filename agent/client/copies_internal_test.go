package client

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// TestRecordCopy: how each disk was copied, and what its image becomes.
func TestRecordCopy(t *testing.T) {
	overlay := record.DiskRun{Content: record.Changes, Change: record.Same, Backing: "../p/x.qcow2", ParentChangeID: "52 AA/3", ChangeID: "52 aa/4", Complete: true}
	with := func(f func(*record.DiskRun)) record.DiskRun {
		d := overlay
		f(&d)
		return d
	}
	for name, c := range map[string]struct {
		kind    record.Type
		d       record.DiskRun
		copied  record.Copied // "" if the backup fails
		change  record.Change
		content record.Content
		why     string
	}{
		"full":            {record.Full, record.DiskRun{Content: record.WholeDisk, ChangeID: "52 aa/1"}, record.CopiedWhole, "", record.WholeDisk, "full backup"},
		"changes":         {d: with(func(d *record.DiskRun) { d.AsChanges = true }), copied: record.CopiedChanges, change: record.Same, content: record.Changes, why: "changes since 52 AA/3"},
		"whole by itself": {d: overlay, copied: record.CopiedWhole, change: record.Same, content: record.Changes, why: "found no change id"},
		"another disk":    {d: with(func(d *record.DiskRun) { d.ChangeID = "52 bb/1" }), copied: record.CopiedWhole, change: record.Replaced, content: record.WholeDisk, why: "52 bb/1"},
		"changes of another disk": {d: with(func(d *record.DiskRun) {
			d.ChangeID, d.AsChanges = "52 bb/1", true
		}), why: "of another disk"},
		"no change id of VMware": {d: with(func(d *record.DiskRun) { d.ChangeID = "b" }), copied: record.CopiedWhole, change: record.Same, content: record.Changes, why: "found no change id"},
		"added":                  {d: record.DiskRun{Content: record.WholeDisk, Change: record.Added, ChangeID: "52 bb/1"}, copied: record.CopiedWhole, change: record.Added, content: record.WholeDisk, why: "added"},
		"smaller": {
			d:      record.DiskRun{Content: record.WholeDisk, Change: record.Replaced, ChangeID: "52 bb/1"},
			copied: record.CopiedWhole, change: record.Replaced, content: record.WholeDisk, why: "smaller",
		},
		"parent was not tracked": {
			d:      record.DiskRun{Content: record.WholeDisk, Change: record.Same, ChangeID: "52 bb/1"},
			copied: record.CopiedWhole, change: record.Same, content: record.WholeDisk, why: "the parent has no change id",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.kind == "" {
				c.kind = record.Incremental
			}
			d := c.d
			err := RecordCopy(record.Backup{ID: "b", Type: c.kind}, &d)
			if c.copied == "" {
				if e := fault.From(err); !e.Has(fault.ImageFailed) || !strings.Contains(e.Message, c.why) || e.DiskID == nil || e.Hint == "" {
					t.Errorf("%+v", e)
				}
				return
			}
			if err != nil || d.Copied != c.copied || d.Change != c.change || d.Content != c.content || !strings.Contains(d.CopiedWhy, c.why) || d.Backing != c.d.Backing {
				t.Errorf("%+v, %v", d, err)
			}
			again := d
			if err := RecordCopy(record.Backup{ID: "b", Type: c.kind}, &again); err != nil || again != d {
				t.Errorf("the second time: %+v, %v", again, err)
			}
		})
	}
}
