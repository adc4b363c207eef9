package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// recordCopies puts on record how each disk was copied, and which disk is another one than that of the parent. It is done once:
// what is on record stays.
func (f *finisher) recordCopies() (b record.Backup, err error) {
	failpoint.Reach("before copies are recorded")
	err = f.untilRecorded(func() (err error) {
		b, err = f.agent.change(f.id, func(b *record.Backup) error {
			for i := range b.Runs {
				if err := recordCopy(*b, &b.Runs[i]); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	failpoint.Reach("copies recorded")
	return b, err
}

// recordCopy tells how a disk was copied. SBC copies changes only after it has asked from where while it was connected, which is
// on record since before it was answered; otherwise it has copied the disk from beginning to end. The change id that it has
// reported belongs to the disk that it has read: when its UUID is not that of the parent's disk, the disk was replaced, or its
// change tracking began anew, and the image shall not stand on one of another disk.
func recordCopy(b record.Backup, d *record.DiskRun) error {
	if d.Copied != "" {
		return nil
	}
	another := d.Content == record.Changes && differentDisks(d.ParentChangeID, d.ChangeID)
	switch {
	case d.AsChanges && another:
		e := errorf(ImageFailed, "backup %s: disk %d: the client has copied what changed since %s, and reports the change id %s, "+
			"which is of another disk: what it copied is not known", b.ID, d.DiskID, d.ParentChangeID, d.ChangeID)
		e.BackupID, e.DiskID, e.Hint = b.ID, new(d.DiskID), "make a full backup: disks of the VM have changed places"
		return e
	case d.AsChanges:
		d.Copied, d.CopiedWhy = record.CopiedChanges, "changes since "+d.ParentChangeID
		return nil
	case another:
		d.Change, d.Content = record.Replaced, record.WholeDisk
		d.CopiedWhy = fmt.Sprintf("the disk is another one, or its change tracking began anew: its change id is %s, that of the parent's disk is %s",
			d.ChangeID, d.ParentChangeID)
	case b.Type == record.Full:
		d.CopiedWhy = "full backup"
	case d.Change == record.Added:
		d.CopiedWhy = "the disk was added"
	case d.Change == record.Replaced:
		d.CopiedWhy = "the disk is another one: it is smaller than the parent's"
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

// standAlone has the image of a disk that was replaced stand on nothing, and records that it does. SBC has copied such a disk
// whole, so there is nothing to read from below; should there be, it is copied.
func (f *finisher) standAlone(ctx context.Context, d record.DiskRun) (record.DiskRun, error) {
	b, err := f.agent.store.Backup(f.id)
	if err != nil {
		return d, err
	}
	links, err := f.agent.linksOf(b, d)
	if err != nil {
		return d, err
	}
	failpoint.Reach("before an image stands alone")
	err = f.agent.tools.WithKey(links[0].Key).Flatten(ctx, qemu.FlattenSpec{
		Image: links[0], Backing: d.Backing, Base: links[1:], SizeBytes: d.CapacityBytes, Cache: qemu.BufferedIO.Cache,
	})
	if err != nil {
		return d, err
	}
	failpoint.Reach("image stands alone")
	err = f.untilRecorded(func() error {
		b, err = f.agent.change(f.id, func(b *record.Backup) error {
			b.Run(d.DiskID).Backing = ""
			return nil
		})
		return err
	})
	if err != nil {
		return d, err
	}
	failpoint.Reach("image on record as standing alone")
	return *b.Run(d.DiskID), nil
}

// linksOf are the images that a disk of a backup consists of, the newest first, with what opens each.
func (a *Agent) linksOf(b record.Backup, d record.DiskRun) ([]qemu.Layer, error) {
	repo, err := a.findRepository(b.Repository)
	if err != nil {
		return nil, err
	}
	ancestors, err := a.ancestors(b)
	if err != nil {
		return nil, err
	}
	path := d.Image
	var links []qemu.Layer
	for i := 0; ; i++ {
		tools, err := a.keyedTools(repo, d.KeyID)
		if err != nil {
			return nil, err
		}
		links = append(links, qemu.Layer{Path: path, Key: tools.Key})
		if d.Backing == "" {
			return links, nil
		}
		file := filepath.Base(d.Backing)
		if i == len(ancestors) || runOfImage(ancestors[i], file) == nil {
			return nil, damagef("image %s stands on %s, which is not on record", path, d.Backing)
		}
		path, d = filepath.Join(dirOf(repo, ancestors[i]), file), *runOfImage(ancestors[i], file)
	}
}

func runOfImage(b record.Backup, file string) *record.DiskRun {
	for i := range b.Runs {
		if filepath.Base(b.Runs[i].Image) == file {
			return &b.Runs[i]
		}
	}
	return nil
}

// waitForQuestion waits until SBC would have asked about a disk that is not on record, if vCenter had one. What the end of the
// backup takes anyway is part of that time.
func (f *finisher) waitForQuestion() error {
	for {
		left := f.questionDue()
		if left <= 0 {
			return nil
		}
		if err := f.sleep(left); err != nil {
			return err
		}
	}
}

// questionDue is how long SBC may still ask about one more disk. It counts from when every disk was known to be reported, and
// SBC could ask: what it asks while no agent runs waits for the next one.
func (f *finisher) questionDue() time.Duration {
	limit := f.agent.config.Deadlines.LastQuestion.Std()
	reported, opened := f.reported.Load(), f.agent.opened.Load()
	if reported == nil || opened == nil {
		return limit
	}
	return limit - min(time.Since(*reported), time.Since(*opened))
}

// settled says of a backup of which every disk is reported whether the time is over in which its SBC would have asked about one
// more.
func (a *Agent) settled(id string) bool {
	r := a.run(id)
	return r != nil && r.finisher.questionDue() <= 0
}
