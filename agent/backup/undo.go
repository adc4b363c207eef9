package backup

import (
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// undo takes back what a backup has done: units, images, leases. It goes on until the units are gone, because a port
// whose export still serves must not be leased again. What is returned is for the caller of the start.
func (r *run) undo(cause error) error {
	a := r.service
	b, err := r.beginUndo(cause)
	if err != nil {
		return cause
	}
	failpoint.Reach("undo: before units")
	if err := r.UntilDone("exporters cannot be stopped", func() error { return r.service.Exports.RemovePairs(r.service.Jobs.Hard, b.Runs) }); err != nil {
		return cause
	}
	failpoint.Reach("undo: units removed")
	end := record.Cancelled
	if b.Failure != nil {
		end = record.Failed
	}
	left := a.ClearImages(b)
	failpoint.Reach("undo: images removed")
	err = r.UntilRecorded(func() (err error) {
		b, err = a.Records.Advance(r.ID, end, func(b *record.Backup) {
			if left != nil && b.Failure != nil {
				b.Failure.Message += "; its images could not be removed yet: " + left.Error()
			}
			if clientMayLive(*b) {
				b.CooldownUntil = time.Now().Add(a.Config.SNA.Cooldown.Std())
			}
		})
		return err
	})
	if err != nil {
		return cause
	}
	if !b.CooldownUntil.IsZero() {
		a.Ports.Cooldowns.Add(b, a.Config.SNA.Cooldown.Std())
	}
	return endError(b)
}

// endError is what the caller of a start is told when the backup has been undone.
func endError(b record.Backup) error {
	if b.Failure != nil {
		return failureError(b)
	}
	e := fault.New(fault.WrongState, "backup %s was canceled", b.ID)
	e.BackupID = b.ID
	return e
}

// beginUndo records that a backup is undone and why, and what is known then of its client.
func (r *run) beginUndo(cause error) (b record.Backup, err error) {
	said, _ := r.inquiry.Answer()
	received := r.receivedSoFar()
	err = r.UntilRecorded(func() (err error) {
		stays := false
		if b, err = r.service.Store.Backup(r.ID); err == nil {
			_, clients, err := export.Busiest(b)
			stays = err == nil && clients > 0
		}
		b, err = r.service.Records.Change(r.ID, func(b *record.Backup) error {
			if b.State != record.Undoing && !errors.Is(cause, errCancelled) {
				b.Failure = job.FailureOf(cause)
			}
			b.State = record.Undoing
			for i := range b.Runs {
				b.Runs[i].ReceivedBytes = max(b.Runs[i].ReceivedBytes, received[b.Runs[i].DiskID])
			}
			atWork := clientMayLive(*b) && (said.Reported || !b.SeenAt.IsZero())
			b.SnapshotMayRemain = b.SnapshotMayRemain || atWork || stays && mayHaveBegun(*b)
			return nil
		})
		return err
	})
	return b, err
}

// receivedSoFar is what each disk has received, by its id, as long as the exporters that count it are there. Nothing is undone later for
// want of it: of disks whose exporters do not tell, the record keeps what it says.
func (r *run) receivedSoFar() map[int]uint64 {
	b, err := r.service.Store.Backup(r.ID)
	if err != nil {
		return nil
	}
	disks, err := r.service.sampleSoon(r.service.Jobs.Hard, b)
	if err != nil {
		r.service.Log.Debug("the received bytes of the disks are not recorded", logkey.BackupID, r.ID, logkey.Error, err)
		return nil
	}
	received := make(map[int]uint64, len(disks))
	for _, d := range disks {
		received[d.DiskID] = d.ReceivedBytes
	}
	return received
}

// clientMayLive says whether SBC may still be running when its exports have been stopped: the request left, nobody knows that it was
// not acted upon, and SBC is not at its end. That it was connected, or has left, makes no difference: one that has lost its exports
// lives on for minutes, and for hours in an incremental of many changes, and then removes its snapshot (decision 23).
func clientMayLive(b record.Backup) bool {
	return mayHaveBegun(b) && (!b.AllComplete() || b.SnapshotMayRemain)
}

// mayHaveBegun says whether the request left and nobody knows that it was not acted upon.
func mayHaveBegun(b record.Backup) bool { return !b.CalledAt.IsZero() && !b.NotStarted }

// ClearImages removes the images of an undone backup, or sets them aside when it failed after something was copied and
// the configuration says so.
func (s *Service) ClearImages(b record.Backup) error {
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return err
	}
	vm := record.DirectoryOf(b)
	if !b.DirectoryMade {
		return repo.RemoveEmptyDir(vm, b.ID) // what is in it, if anything, is somebody else's
	}
	if s.Config.Agent.FailedImages == config.SetAsideImages && b.Failure != nil && !b.SeenAt.IsZero() {
		var path string
		if path, err = repo.SetAside(vm, b.ID); err == nil {
			s.Log.Info("images of a failed backup were set aside", logkey.BackupID, b.ID, logkey.Directory, path)
			return nil
		}
	} else {
		err = repo.RemoveDir(vm, b.ID)
	}
	if err != nil {
		s.Log.Error("images of an undone backup could not be removed", logkey.BackupID, b.ID, logkey.Directory, b.Directory, logkey.Error, err)
	}
	return err
}

// failureError is the error that a record's failure was made from.
func failureError(b record.Backup) error {
	f := b.Failure
	return &fault.Error{
		Reason: fault.Reason(f.Reason), Message: f.Message, Hint: f.Hint, BackupID: b.ID,
		DiskID: f.DiskID, Unit: f.Unit, Journal: f.Journal,
	}
}
