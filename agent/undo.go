package agent

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// undo takes back what a backup has done: units, images, leases. It goes on until the units are gone, because a port
// whose export still serves must not be leased again. What is returned is for the caller of the start.
func (r *run) undo(cause error) error {
	a := r.agent
	var b backup.Backup
	err := r.untilRecorded(func() (err error) {
		b, err = a.change(r.id, func(b *backup.Backup) error {
			if b.State != backup.Undoing && !errors.Is(cause, errCancelled) {
				b.Failure = failureOf(cause)
			}
			b.State = backup.Undoing
			return nil
		})
		return err
	})
	if err != nil {
		return cause
	}
	_, connected, err := busiest(b)
	if err != nil {
		connected = 0 // not known: as if there were none
	}
	if err := r.untilDone("exporters cannot be stopped", func() error { return r.removeUnits(b) }); err != nil {
		return cause
	}
	failpoint.Reach("undo: units removed")
	end := backup.Cancelled
	if b.Failure != nil {
		end = backup.Failed
	}
	left := r.clearImages(b)
	failpoint.Reach("undo: images removed")
	err = r.untilRecorded(func() (err error) {
		b, err = a.advance(r.id, end, func(b *backup.Backup) {
			if left != nil && b.Failure != nil {
				b.Failure.Message += "; its images could not be removed yet: " + left.Error()
			}
			if connected == 0 && clientMayCome(*b) {
				b.CooldownUntil = time.Now().Add(a.config.SNA.Cooldown.Std())
			}
		})
		return err
	})
	if err != nil {
		return cause
	}
	return endError(b)
}

// endError is what the caller of a start is told when the backup has been undone.
func endError(b backup.Backup) error {
	if b.Failure != nil {
		return failureError(b)
	}
	e := errorf(WrongState, "backup %s was cancelled", b.ID)
	e.BackupID = b.ID
	return e
}

// clientMayCome says whether an SBC that had no connection when the exports were stopped may still be on its way to them:
// the request left, nobody knows that it was not acted upon, and SBC is not at its end. One that was connected has lost its
// connection, and gives up: it never reconnects. Between two disks it has none.
func clientMayCome(b backup.Backup) bool {
	return !b.CalledAt.IsZero() && !b.NotStarted && !b.AllComplete()
}

func (r *run) removeUnits(b backup.Backup) error {
	group, ctx := errgroup.WithContext(r.agent.hard)
	group.SetLimit(maxParallelDisks)
	for _, d := range b.Runs {
		group.Go(func() error { return r.agent.units.Remove(ctx, d.Unit) })
	}
	return group.Wait()
}

// clearImages removes the images of an undone backup, or sets them aside when it failed after something was copied and
// the configuration says so.
func (r *run) clearImages(b backup.Backup) error {
	repo, err := r.agent.findRepository(b.Repository)
	if err != nil {
		return err
	}
	vm := nbd.DirName(b.VM.Name)
	if !b.DirectoryMade {
		return repo.RemoveEmptyDir(vm, b.ID) // what is in it, if anything, is somebody else's
	}
	if r.agent.config.Agent.FailedImages == config.SetAsideImages && b.Failure != nil && !b.SeenAt.IsZero() {
		var path string
		if path, err = repo.SetAside(vm, b.ID); err == nil {
			r.agent.log.Info("images of a failed backup are set aside", logBackupID, b.ID, logDirectory, path)
			return nil
		}
	} else {
		err = repo.RemoveDir(vm, b.ID)
	}
	if err != nil {
		r.agent.log.Error("images of an undone backup are left behind", logBackupID, b.ID, logDirectory, b.Directory, logError, err)
	}
	return err
}

// untilDone repeats a step, ever more slowly, until it succeeds or the agent must end.
func (r *run) untilDone(what string, step func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := step()
		if err == nil {
			return nil
		}
		r.agent.log.Error(what, logBackupID, r.id, logError, err)
		select {
		case <-time.After(wait):
		case <-r.agent.hard.Done():
			return context.Cause(r.agent.hard)
		}
	}
}

// untilRecorded repeats a change of the record until it is on the disk, or the agent must end: a database that cannot be
// written for a moment is no reason to lose a copy, or to leave one half undone. A change that is not allowed is not tried
// again.
func (r *run) untilRecorded(change func() error) error {
	var refused error
	err := r.untilDone("the record cannot be written", func() error {
		err := change()
		if notAllowed(err) {
			refused = err
			return nil
		}
		return err
	})
	if err != nil {
		return errStopping // the next agent goes on from what is on record
	}
	return refused
}

func notAllowed(err error) bool {
	var (
		ours       *Error
		transition *backup.IllegalTransitionError
		immutable  *store.ImmutableError
		missing    *store.NotFoundError
	)
	return errors.As(err, &ours) || errors.As(err, &transition) || errors.As(err, &immutable) || errors.As(err, &missing)
}

// failureOf is an error as the record keeps it.
func failureOf(err error) *backup.Failure {
	if errors.Is(err, errStopping) {
		err = errorf(ShuttingDown, "the agent was stopped before the SNA was asked")
	}
	e := AsError(err)
	return &backup.Failure{
		Reason: string(e.Reason), Message: e.Message, Hint: e.Hint, DiskID: e.DiskID, Unit: e.Unit, Journal: e.Journal,
	}
}

// failureError is the error that a record's failure was made from.
func failureError(b backup.Backup) error {
	f := b.Failure
	return &Error{
		Reason: Reason(f.Reason), Message: f.Message, Hint: f.Hint, BackupID: b.ID,
		DiskID: f.DiskID, Unit: f.Unit, Journal: f.Journal,
	}
}
