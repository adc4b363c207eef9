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
	"github.com/sendense/backup-agent/agent/storage"
)

// undo removes what a backup made: units, images, leases. It repeats until the units are gone, because a port must not be leased
// again while its export is served. It returns the error for the caller of the start.
func (j *Job) undo(cause error) error {
	s := j.service
	b, err := j.beginUndo(cause)
	if err != nil {
		return cause
	}
	failpoint.Reach("undo: before units")
	if err := j.UntilDone("exporters cannot be stopped", func() error { return j.discard(b) }); err != nil {
		return cause
	}
	failpoint.Reach("undo: units removed")
	end := record.Cancelled
	if b.Failure != nil {
		end = record.Failed
	}
	var remaining error
	if len(b.Runs) > 0 { // otherwise it never left the queue and made nothing, and its repository may hang
		remaining = s.ClearImages(b)
	}
	failpoint.Reach("undo: images removed")
	err = j.UntilRecorded(func() (err error) {
		b, err = s.Records.Advance(j.ID, end, func(b *record.Backup) {
			if remaining != nil && b.Failure != nil {
				b.Failure.Message += "; its images could not be removed yet: " + remaining.Error()
			}
			if clientMayLive(*b) {
				b.CooldownUntil = time.Now().Add(s.Config.SNA.Cooldown.Std())
			}
		})
		return err
	})
	if err != nil {
		return cause
	}
	if !b.CooldownUntil.IsZero() {
		s.Ports.Cooldowns.Add(b, s.Config.SNA.Cooldown.Std())
	}
	return endError(b)
}

// discard removes the exporters of a backup that is undone.
func (j *Job) discard(b record.Backup) error {
	s := j.service
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil { // it was configured when the backup began
		return s.Exports.RemovePairs(s.Jobs.Hard, export.Disks(b.Runs))
	}
	return s.Exports.Discard(s.Jobs.Hard, repo, export.Disks(b.Runs))
}

// endError is the error for the caller of a start whose backup was undone.
func endError(b record.Backup) error {
	if b.Failure != nil {
		return failureError(b)
	}
	return fault.New(fault.WrongState, "backup %s was canceled", b.ID).OfBackup(b.ID)
}

// beginUndo records that a backup is being undone and why, and what is known about its client at that time.
func (j *Job) beginUndo(cause error) (b record.Backup, err error) {
	said, _ := j.inquiry.Answer()
	received := j.receivedSoFar()
	err = j.UntilRecorded(func() (err error) {
		stays := false
		if b, err = j.service.Store.Backup(j.ID); err == nil {
			_, clients, err := export.Busiest(b)
			stays = err == nil && clients > 0
		}
		b, err = j.service.Records.Change(j.ID, func(b *record.Backup) error {
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

// receivedSoFar is what each disk has received, by disk id, read while the exporters still exist. The undo does not wait for it: if
// the exporters do not answer, the record keeps its values.
func (j *Job) receivedSoFar() map[int]uint64 {
	b, err := j.service.Store.Backup(j.ID)
	if err != nil {
		return nil
	}
	disks, err := j.service.sampleSoon(j.service.Jobs.Hard, b)
	if err != nil {
		j.service.Log.Debug("the received bytes of the disks are not recorded", logkey.BackupID, j.ID, logkey.Error, err)
		return nil
	}
	received := make(map[int]uint64, len(disks))
	for _, d := range disks {
		received[d.DiskID] = d.ReceivedBytes
	}
	return received
}

// clientMayLive says whether SBC may still be running after its exports were stopped: the request left, the SNA may have acted on
// it, and SBC has not finished. Whether it was connected or has disconnected makes no difference: after the loss of its exports it
// continues for minutes, or for hours in an incremental with many changes, and then removes its snapshot (decision 23).
func clientMayLive(b record.Backup) bool {
	return mayHaveBegun(b) && (!b.AllComplete() || b.SnapshotMayRemain)
}

// mayHaveBegun says whether the request left and the SNA may have acted on it.
func mayHaveBegun(b record.Backup) bool { return !b.CalledAt.IsZero() && !b.NotStarted }

// ClearImages removes the images of an undone backup. It sets them aside if the backup failed after data was copied and the
// configuration says so.
func (s *Service) ClearImages(b record.Backup) error {
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return err
	}
	vm, ctx := record.DirectoryOf(b), storage.UntilStuck(s.Jobs.Hard)
	if !b.DirectoryMade {
		return repo.RemoveEmptyDir(ctx, vm, b.ID) // the backup did not make what is in it
	}
	if s.Config.Agent.FailedImages == config.SetAsideImages && b.Failure != nil && !b.SeenAt.IsZero() {
		var path string
		if path, err = repo.SetAside(ctx, vm, b.ID); err == nil {
			s.Log.Info("images of a failed backup were set aside", logkey.BackupID, b.ID, logkey.Directory, path)
			return nil
		}
	} else {
		err = repo.RemoveDir(ctx, vm, b.ID)
	}
	if err != nil {
		s.Log.Error("images of an undone backup could not be removed", logkey.BackupID, b.ID, logkey.Directory, b.Directory, logkey.Error, err)
	}
	return err
}

// failureError is the error from which a record's failure was made.
func failureError(b record.Backup) error {
	f := b.Failure
	return &fault.Error{
		Reason: fault.Reason(f.Reason), Message: f.Message, Hint: f.Hint, BackupID: b.ID,
		DiskID: f.DiskID, Unit: f.Unit, Journal: f.Journal,
	}
}
