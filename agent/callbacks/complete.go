package callbacks

import (
	"context"
	"errors"

	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
)

// maxChangeIDBytes limits the change id in a report. VMware's change ids are about 50 bytes long.
const maxChangeIDBytes = 1024

// Complete records that SBC reported a disk complete, with the change id of its snapshot. It returns once that is on the disk, and
// does not wait for what follows: SBC disconnects only after its report is answered. Repeating a report is no error; another change
// id for the same disk is.
//
// While the database cannot be written, the report waits: SBC sets no time limit, and discards the whole copy if it gets an error.
func (s *Service) Complete(_ context.Context, id string, diskID int, changeID string) (record.Backup, error) {
	if len(changeID) > maxChangeIDBytes {
		return record.Backup{}, fault.New(fault.InvalidRequest, "change_id is %d bytes long, the limit is %d", len(changeID), maxChangeIDBytes)
	}
	if j := s.Backups.Job(id); j != nil {
		defer j.Reporting()()
	} else if b, err := s.Store.Backup(id); err == nil {
		s.extendCooldown(b)
	}
	b, err := s.changeUntilRecorded(id, func(b *record.Backup) error {
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
		return client.Seen(b)
	})
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) {
			return b, e
		}
		return b, ledger.NotFound(err)
	}
	if j := s.Backups.Job(id); j != nil {
		j.Reported()
	}
	return b, nil
}

// reported is the number of disks that were reported complete.
func reported(b *record.Backup) int {
	n := 0
	for _, d := range b.Runs {
		if d.Complete {
			n++
		}
	}
	return n
}

// changeUntilRecorded changes a record. While the backup has a job, it repeats the change until it is recorded.
func (s *Service) changeUntilRecorded(id string, f func(*record.Backup) error) (b record.Backup, err error) {
	j := s.Backups.Job(id)
	if j == nil {
		return s.Records.Change(id, f)
	}
	err = j.UntilRecorded(func() (err error) {
		b, err = s.Records.Change(id, f)
		return err
	})
	if errors.Is(err, job.ErrStopping) {
		err = job.ErrClosed()
	}
	return b, err
}
