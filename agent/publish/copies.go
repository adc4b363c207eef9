package publish

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// recordCopies records how each disk was copied, and which disk differs from that of the parent. It does so once: a value on record
// stays.
func (f *Finisher) recordCopies() (b record.Backup, err error) {
	failpoint.Reach("before copies are recorded")
	err = f.UntilRecorded(func() (err error) {
		b, err = f.service.Records.Change(f.ID, func(b *record.Backup) error {
			for i := range b.Runs {
				if err := client.RecordCopy(*b, &b.Runs[i]); err != nil {
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

// flatten makes the image of a replaced disk independent of the parent, and records that it has no backing file. SBC copies such a
// disk whole, so nothing should remain to be read from the parent. If something does, it is copied.
func (f *Finisher) flatten(ctx context.Context, d record.DiskRun) (record.DiskRun, error) {
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return d, err
	}
	layers, err := f.service.Chains.Layers(b, d)
	if err != nil {
		return d, err
	}
	failpoint.Reach("before an image stands alone")
	repo, err := f.service.Repositories.Find(b.Repository)
	if err != nil {
		return d, err
	}
	err = repo.Images(layers[0].Key).Flatten(ctx, qemu.FlattenSpec{
		Image: layers[0], Backing: d.Backing, Base: layers[1:], SizeBytes: d.CapacityBytes, Cache: iomode.Buffered.Cache,
	})
	if err != nil {
		return d, err
	}
	failpoint.Reach("image stands alone")
	err = f.UntilRecorded(func() error {
		b, err = f.service.Records.Change(f.ID, func(b *record.Backup) error {
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

// waitForQuestion waits until SBC would have asked about a disk that is not on record, if vCenter had one. The other steps at the
// end of the backup count as part of that time.
func (f *Finisher) waitForQuestion() error {
	for {
		left := f.QuestionDue()
		if left <= 0 {
			return nil
		}
		if err := f.Sleep(left); err != nil {
			return err
		}
	}
}

// QuestionDue is how much longer SBC may ask about one more disk. It counts from when every disk was known to be reported and SBC
// could ask: a question while no agent runs waits for the next agent.
func (f *Finisher) QuestionDue() time.Duration {
	limit := f.service.Config.Deadlines.LastQuestion.Std()
	reported, opened := f.reported.Load(), f.service.Opened.Load()
	if reported == nil || opened == nil {
		return limit
	}
	return limit - min(time.Since(*reported), time.Since(*opened))
}
