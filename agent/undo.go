package agent

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/nbd"
)

// undo takes back what a backup has done: units, images, leases. It goes on until the units are gone, because a port
// whose export still serves must not be leased again. What is returned is for the caller of the start.
func (r *run) undo(cause error) error {
	a := r.agent
	b, err := a.change(r.id, func(b *backup.Backup) error {
		if b.State != backup.Undoing && !errors.Is(cause, errCancelled) {
			b.Failure = failureOf(cause)
		}
		b.State = backup.Undoing
		return nil
	})
	if err != nil {
		a.log.Error("undoing cannot be recorded; it is done at the next start of the agent", logBackupID, r.id, logError, err)
		return cause
	}
	if err := r.untilDone("exporters cannot be stopped", func() error { return r.removeUnits(b) }); err != nil {
		return cause
	}
	end := backup.Cancelled
	if b.Failure != nil {
		end = backup.Failed
	}
	left := r.clearImages(b)
	b, err = a.advance(r.id, end, func(b *backup.Backup) {
		if left != nil && b.Failure != nil {
			b.Failure.Message += "; its images could not be removed: " + left.Error()
		}
		if clientMayCome(*b) {
			b.CooldownUntil = time.Now().Add(a.config.SNA.Cooldown.Std())
		}
	})
	if err != nil {
		a.log.Error("the end cannot be recorded; it is done at the next start of the agent", logBackupID, r.id, logError, err)
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

// clientMayCome says whether an SBC may still be on its way to exports that are gone: the request left, nobody knows
// that it was not acted upon, and no client was ever seen. One that was seen has lost its connection, and gives up.
func clientMayCome(b backup.Backup) bool {
	if b.CalledAt.IsZero() || !b.SeenAt.IsZero() {
		return false
	}
	return b.Failure == nil || (b.Failure.Reason != string(SNARefused) && b.Failure.Reason != string(SNAUnreachable))
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
