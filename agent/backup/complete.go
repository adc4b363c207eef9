package backup

import (
	"context"
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
)

// maxChangeIDBytes bounds what SBC may report: VMware's change ids are about 50 bytes.
const maxChangeIDBytes = 1024

// Complete records that SBC reported a disk complete, with the change id of its snapshot. It returns once that is
// on the disk, and does not wait for what follows: SBC disconnects only after its report is answered. The same report
// twice is no error; another change id for the same disk is.
//
// While the database cannot be written the report waits: SBC sets no time limit, and gives the whole copy up when it is
// answered with an error.
func (c *Clients) Complete(_ context.Context, id string, diskID int, changeID string) (record.Backup, error) {
	if len(changeID) > maxChangeIDBytes {
		return record.Backup{}, fault.New(fault.InvalidRequest, "change_id is %d bytes long, the limit is %d", len(changeID), maxChangeIDBytes)
	}
	if r := c.Backups.run(id); r != nil {
		r.reporting.Add(1)
		defer r.reporting.Add(-1)
	} else if b, err := c.Store.Backup(id); err == nil {
		c.stillLives(b)
	}
	b, err := c.changeOfRun(id, func(b *record.Backup) error {
		d := b.Run(diskID)
		switch {
		case d == nil:
			return fault.New(fault.InvalidRequest, "backup %s has no disk %d", id, diskID)
		case d.Complete && d.ChangeID == changeID:
			return nil
		case d.Complete:
			return fault.New(fault.WrongState, "backup %s: disk %d is already complete with another change id", id, diskID)
		case b.State != record.Calling && b.State != record.Unresolved && b.State != record.Running:
			return fault.New(fault.WrongState, "backup %s is %s: no disk can be completed", id, b.State)
		}
		d.Complete, d.ChangeID, d.Order = true, changeID, 1+reported(b)
		return seen(b)
	})
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) {
			return b, e
		}
		return b, ledger.NotFound(err)
	}
	if r := c.Backups.run(id); r != nil {
		r.asked.Store(false)
		r.Nudge()
	}
	return b, nil
}

// reported is how many disks have been reported.
func reported(b *record.Backup) int {
	n := 0
	for _, d := range b.Runs {
		if d.Complete {
			n++
		}
	}
	return n
}

// changeOfRun is change, repeated until it is recorded while the backup has a run.
func (c *Clients) changeOfRun(id string, f func(*record.Backup) error) (b record.Backup, err error) {
	r := c.Backups.run(id)
	if r == nil {
		return c.Records.Change(id, f)
	}
	err = r.UntilRecorded(func() (err error) {
		b, err = c.Records.Change(id, f)
		return err
	})
	if errors.Is(err, job.ErrStopping) {
		err = job.ErrClosed()
	}
	return b, err
}
