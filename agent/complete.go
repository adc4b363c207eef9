package agent

import (
	"context"
	"errors"

	"github.com/sendense/backup-agent/agent/record"
)

// maxChangeIDBytes bounds what SBC may report: VMware's change ids are about 50 bytes.
const maxChangeIDBytes = 1024

// CompleteDisk records that SBC reported a disk complete, with the change id of its snapshot. It returns once that is
// on the disk, and does not wait for what follows: SBC disconnects only after its report is answered. The same report
// twice is no error; another change id for the same disk is.
//
// While the database cannot be written the report waits: SBC sets no time limit, and gives the whole copy up when it is
// answered with an error.
func (a *Agent) CompleteDisk(_ context.Context, id string, diskID int, changeID string) (record.Backup, error) {
	if len(changeID) > maxChangeIDBytes {
		return record.Backup{}, errorf(InvalidRequest, "change_id is %d bytes long, the most is %d", len(changeID), maxChangeIDBytes)
	}
	if r := a.run(id); r != nil {
		r.reporting.Add(1)
		defer r.reporting.Add(-1)
	} else if b, err := a.store.Backup(id); err == nil {
		a.stillLives(b)
	}
	b, err := a.changeOfRun(id, func(b *record.Backup) error {
		d := b.Run(diskID)
		switch {
		case d == nil:
			return errorf(InvalidRequest, "backup %s has no disk %d", id, diskID)
		case d.Complete && d.ChangeID == changeID:
			return nil
		case d.Complete:
			return errorf(WrongState, "backup %s: disk %d is complete with another change id already", id, diskID)
		case b.State != record.Calling && b.State != record.Unresolved && b.State != record.Running:
			return errorf(WrongState, "backup %s is %s: no disk can be completed", id, b.State)
		}
		d.Complete, d.ChangeID, d.Order = true, changeID, 1+reported(b)
		return seen(b)
	})
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return b, e
		}
		return b, notFound(err)
	}
	if r := a.run(id); r != nil {
		r.asked.Store(false)
		r.nudge()
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
func (a *Agent) changeOfRun(id string, f func(*record.Backup) error) (b record.Backup, err error) {
	r := a.run(id)
	if r == nil {
		return a.change(id, f)
	}
	err = r.untilRecorded(func() (err error) {
		b, err = a.change(id, f)
		return err
	})
	if errors.Is(err, errStopping) {
		err = errClosed()
	}
	return b, err
}
