package agent

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// undo takes back what a backup has done: units, images, leases. It goes on until the units are gone, because a port
// whose export still serves must not be leased again. What is returned is for the caller of the start.
func (r *run) undo(cause error) error {
	a := r.agent
	b, err := r.beginUndo(cause)
	if err != nil {
		return cause
	}
	failpoint.Reach("undo: before units")
	if err := r.untilDone("exporters cannot be stopped", func() error { return r.agent.removePairs(r.agent.jobs.hard, b.Runs) }); err != nil {
		return cause
	}
	failpoint.Reach("undo: units removed")
	end := record.Cancelled
	if b.Failure != nil {
		end = record.Failed
	}
	left := a.clearImages(b)
	failpoint.Reach("undo: images removed")
	err = r.untilRecorded(func() (err error) {
		b, err = a.advance(r.id, end, func(b *record.Backup) {
			if left != nil && b.Failure != nil {
				b.Failure.Message += "; its images could not be removed yet: " + left.Error()
			}
			if clientMayLive(*b) {
				b.CooldownUntil = time.Now().Add(a.config.SNA.Cooldown.Std())
			}
		})
		return err
	})
	if err != nil {
		return cause
	}
	if !b.CooldownUntil.IsZero() {
		a.resting.add(b, a.config.SNA.Cooldown.Std())
	}
	return endError(b)
}

// endError is what the caller of a start is told when the backup has been undone.
func endError(b record.Backup) error {
	if b.Failure != nil {
		return failureError(b)
	}
	e := errorf(WrongState, "backup %s was cancelled", b.ID)
	e.BackupID = b.ID
	return e
}

// beginUndo records that a backup is undone and why, and what is known then of its client.
func (r *run) beginUndo(cause error) (b record.Backup, err error) {
	said, _ := r.inquiry.answer()
	received := r.receivedSoFar()
	err = r.untilRecorded(func() (err error) {
		stays := false
		if b, err = r.agent.store.Backup(r.id); err == nil {
			_, clients, err := busiest(b)
			stays = err == nil && clients > 0
		}
		b, err = r.agent.change(r.id, func(b *record.Backup) error {
			if b.State != record.Undoing && !errors.Is(cause, errCancelled) {
				b.Failure = failureOf(cause)
			}
			b.State = record.Undoing
			for i := range b.Runs {
				b.Runs[i].ReceivedBytes = max(b.Runs[i].ReceivedBytes, received[b.Runs[i].DiskID])
			}
			atWork := clientMayLive(*b) && (said.reported || !b.SeenAt.IsZero())
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
	b, err := r.agent.store.Backup(r.id)
	if err != nil {
		return nil
	}
	disks, err := r.agent.sampleSoon(r.agent.jobs.hard, b)
	if err != nil {
		r.agent.log.Debug("what the disks have received is not recorded", logBackupID, r.id, logError, err)
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

// removePairs removes the units of all disks of a backup.
func (a *Agent) removePairs(ctx context.Context, runs []record.DiskRun) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelDisks)
	for _, d := range runs {
		group.Go(func() error { return a.removePair(ctx, d.Unit, d.InvocationID, d.Image) })
	}
	return group.Wait()
}

// clearImages removes the images of an undone backup, or sets them aside when it failed after something was copied and
// the configuration says so.
func (a *Agent) clearImages(b record.Backup) error {
	repo, err := a.findRepository(b.Repository)
	if err != nil {
		return err
	}
	vm := vmDirectory(b)
	if !b.DirectoryMade {
		return repo.RemoveEmptyDir(vm, b.ID) // what is in it, if anything, is somebody else's
	}
	if a.config.Agent.FailedImages == config.SetAsideImages && b.Failure != nil && !b.SeenAt.IsZero() {
		var path string
		if path, err = repo.SetAside(vm, b.ID); err == nil {
			a.log.Info("images of a failed backup are set aside", logBackupID, b.ID, logDirectory, path)
			return nil
		}
	} else {
		err = repo.RemoveDir(vm, b.ID)
	}
	if err != nil {
		a.log.Error("images of an undone backup are left behind", logBackupID, b.ID, logDirectory, b.Directory, logError, err)
	}
	return err
}

func notAllowed(err error) bool {
	var (
		ours       *Error
		transition *record.IllegalTransitionError
		immutable  *store.ImmutableError
		missing    *store.NotFoundError
	)
	return errors.As(err, &ours) || errors.As(err, &transition) || errors.As(err, &immutable) || errors.As(err, &missing)
}

// failureOf is an error as the record keeps it.
func failureOf(err error) *record.Failure {
	if errors.Is(err, errStopping) {
		err = errorf(ShuttingDown, "the agent was stopped before the SNA was asked")
	}
	return AsError(err).Failure()
}

// failureError is the error that a record's failure was made from.
func failureError(b record.Backup) error {
	f := b.Failure
	return &Error{
		Reason: Reason(f.Reason), Message: f.Message, Hint: f.Hint, BackupID: b.ID,
		DiskID: f.DiskID, Unit: f.Unit, Journal: f.Journal,
	}
}
