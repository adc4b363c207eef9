package agent

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
)

// TestRecordCopy: how each disk was copied, and what its image is to be.
func TestRecordCopy(t *testing.T) {
	overlay := backup.DiskRun{Content: backup.Changes, Change: backup.Same, Backing: "../p/x.qcow2", ParentChangeID: "52 AA/3", ChangeID: "52 aa/4", Complete: true}
	with := func(f func(*backup.DiskRun)) backup.DiskRun {
		d := overlay
		f(&d)
		return d
	}
	for name, c := range map[string]struct {
		kind    backup.Type
		d       backup.DiskRun
		copied  backup.Copied // "" if the backup fails
		change  backup.Change
		content backup.Content
		why     string
	}{
		"full":            {backup.Full, backup.DiskRun{Content: backup.WholeDisk, ChangeID: "52 aa/1"}, backup.CopiedWhole, "", backup.WholeDisk, "full backup"},
		"changes":         {d: with(func(d *backup.DiskRun) { d.AsChanges = true }), copied: backup.CopiedChanges, change: backup.Same, content: backup.Changes, why: "changes since 52 AA/3"},
		"whole by itself": {d: overlay, copied: backup.CopiedWhole, change: backup.Same, content: backup.Changes, why: "found no change id"},
		"another disk":    {d: with(func(d *backup.DiskRun) { d.ChangeID = "52 bb/1" }), copied: backup.CopiedWhole, change: backup.Replaced, content: backup.WholeDisk, why: "52 bb/1"},
		"changes of another disk": {d: with(func(d *backup.DiskRun) {
			d.ChangeID, d.AsChanges = "52 bb/1", true
		}), why: "of another disk"},
		"no change id of VMware": {d: with(func(d *backup.DiskRun) { d.ChangeID = "b" }), copied: backup.CopiedWhole, change: backup.Same, content: backup.Changes, why: "found no change id"},
		"added":                  {d: backup.DiskRun{Content: backup.WholeDisk, Change: backup.Added, ChangeID: "52 bb/1"}, copied: backup.CopiedWhole, change: backup.Added, content: backup.WholeDisk, why: "added"},
		"smaller": {
			d:      backup.DiskRun{Content: backup.WholeDisk, Change: backup.Replaced, ChangeID: "52 bb/1"},
			copied: backup.CopiedWhole, change: backup.Replaced, content: backup.WholeDisk, why: "smaller",
		},
		"parent was not tracked": {
			d:      backup.DiskRun{Content: backup.WholeDisk, Change: backup.Same, ChangeID: "52 bb/1"},
			copied: backup.CopiedWhole, change: backup.Same, content: backup.WholeDisk, why: "the parent has no change id",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.kind == "" {
				c.kind = backup.Incremental
			}
			d := c.d
			err := recordCopy(backup.Backup{ID: "b", Type: c.kind}, &d)
			if c.copied == "" {
				if e := AsError(err); !e.has(ImageFailed) || !strings.Contains(e.Message, c.why) || e.DiskID == nil || e.Hint == "" {
					t.Errorf("%+v", e)
				}
				return
			}
			if err != nil || d.Copied != c.copied || d.Change != c.change || d.Content != c.content || !strings.Contains(d.CopiedWhy, c.why) || d.Backing != c.d.Backing {
				t.Errorf("%+v, %v", d, err)
			}
			again := d
			if err := recordCopy(backup.Backup{ID: "b", Type: c.kind}, &again); err != nil || again != d {
				t.Errorf("the second time: %+v, %v", again, err)
			}
		})
	}
}
