package prune

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// Delete deletes a backup that has ended: its restore point, the images that were set aside, and its record. It returns when that is
// done. Delete records first that the backup is being deleted, so that a crash or a repository that is not mounted only delays the
// rest. It refuses a backup with children: HasChildren. It also refuses a restore point whose directory is missing, because its
// repository may not be mounted, unless missingOK. For a backup that was deleted before it returns no error.
func (s *Service) Delete(ctx context.Context, id string, missingOK bool) error {
	repo, err := s.markDeleting(ctx, id, missingOK)
	if err != nil || repo == nil {
		return err
	}
	done := make(chan error, 1)
	if err := s.Jobs.Spawn(func() { done <- s.finishDeletion(repo, id) }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// markDeleting records that a backup is being deleted, and returns its repository; nil if the backup was deleted before.
func (s *Service) markDeleting(ctx context.Context, id string, missingOK bool) (*storage.Repository, error) {
	b, err := s.Records.Backup(id)
	if fault.From(err).Has(fault.BackupNotFound) {
		if removed, err := s.Store.Removed(id); removed || err != nil {
			return nil, fault.From(err).OrNil()
		}
	}
	if err != nil {
		return nil, err
	}
	repo, err := s.Repositories.Deletable(b)
	if err == nil {
		err = s.Gate.Check(repo.ID)
	}
	if err != nil || b.State == record.Deleting {
		return repo, err
	}
	if err := checkThere(storage.FailFast(ctx), repo, b); err != nil && !missingOK {
		return nil, err
	}
	err = s.Verifications.Exclusively(ctx, repo.ID, id, func() error {
		_, err := s.Records.Advance(id, record.Deleting, nil)
		return err
	})
	var pinned *store.PinnedError
	var served *store.ServedError
	var merging *store.MergingError
	switch {
	case errors.As(err, &merging):
		return nil, merge.Refused(id, err)
	case errors.As(err, &pinned):
		return nil, s.pinnedError(id)
	case errors.As(err, &served):
		return nil, fault.New(fault.BeingRestored, "backup %s is being read by restore %s", id, served.RestoreID).OfBackup(id).OfRestore(served.RestoreID).
			WithHint("stop the restore first (restore.stop), or wait until it expires")
	case fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound): // another request deleted it
		return nil, nil
	}
	return repo, fault.From(err).OrNil()
}

// checkThere fails if the directory of a restore point is missing.
func checkThere(ctx context.Context, repo *storage.Repository, b record.Backup) error {
	there, err := repo.Exists(ctx, nbd.DirName(b.VM.Name), b.ID)
	if err == nil && (there || b.State != record.Completed) {
		return nil
	}
	if err == nil {
		err = errors.New("there is no such directory")
	}
	return fault.New(fault.RepositoryFailed, "backup %s: %s: %w", b.ID, b.Directory, err).OfBackup(b.ID).
		WithHint("check that the repository is mounted. If the directory is lost, delete the record with missing_ok (--missing-ok)")
}

// pinnedError names the children of a backup.
func (s *Service) pinnedError(id string) error {
	children, err := s.Store.Children(id)
	if err != nil {
		return fault.From(err)
	}
	names := make([]string, len(children))
	for i, c := range children {
		names[i] = c.ID
	}
	return fault.New(fault.HasChildren, "backup %s is the parent of %s", id, strings.Join(names, ", ")).OfBackup(id).
		WithHint("delete its children first, the newest first")
}

// finishDeletion removes the files of a backup that is being deleted, and then its record. It may be called again, and from several
// goroutines at once.
func (s *Service) finishDeletion(repo *storage.Repository, id string) error {
	_, err, _ := s.deletions.Do(id, func() (any, error) { return nil, s.deleteNow(repo, id) })
	return err
}

func (s *Service) deleteNow(repo *storage.Repository, id string) error {
	b, err := s.Store.Backup(id)
	if fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound) {
		return nil
	}
	if err != nil {
		return fault.From(err)
	}
	if err := s.Store.SecondCopy(); err != nil { // a removed backup does not become a restore point again, whichever page of the database is lost
		return fault.From(err)
	}
	if err := removeAll(storage.UntilStuck(s.Jobs.Work), repo, b); err != nil {
		reason := fault.RepositoryFailed
		if storage.IsStuck(err) {
			reason = fault.RepositoryStuck
		}
		e := fault.New(reason, "backup %s is no longer a restore point, but its files are not removed yet: %w", id, err)
		e.BackupID, e.Hint = id, "the agent tries again every "+ReconcileInterval.String()+", or delete it again after removing the cause"
		s.Log.Error("the files of a deleted backup cannot be removed yet", logkey.BackupID, id, logkey.Directory, b.Directory, logkey.Error, err)
		return e
	}
	failpoint.Reach("delete: files removed")
	if err := s.Store.RemoveBackup(id, time.Now()); err != nil {
		return fault.From(err)
	}
	failpoint.Reach("delete: record removed")
	s.Catalog.States.Settled(b.Repository)
	s.Log.Info("backup deleted", logkey.BackupID, id, logkey.VM, b.VM.Name)
	return nil
}

// removeAll removes the files of a backup. A directory that the backup did not make stays, unless it is empty.
func removeAll(ctx context.Context, repo *storage.Repository, b record.Backup) error {
	vm := nbd.DirName(b.VM.Name)
	if _, err := repo.Exists(ctx, vm, b.ID); err != nil {
		return err // a repository that cannot be reached looks like one without files
	}
	remove := repo.RemovePoint
	if !b.DirectoryMade {
		remove = repo.RemoveEmptyDir
	}
	failpoint.Reach("delete: before files")
	err := remove(ctx, vm, b.ID)
	if storage.IsStuck(err) {
		return err
	}
	failpoint.Reach("delete: before what was set aside")
	return errors.Join(err, repo.RemoveAside(ctx, vm, b.ID))
}

// ResumeDeletion continues a deletion that a crash or an unreachable repository interrupted. It puts that off while the repository is
// paused or does not answer.
func (s *Service) ResumeDeletion(id string) error {
	b, err := s.Records.Backup(id)
	if fault.From(err).Has(fault.BackupNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	repo, err := s.Repositories.Deletable(b)
	if err != nil {
		return err
	}
	if closed, err := s.Gate.Closed(repo.ID); err != nil || closed != nil {
		return err
	}
	return s.finishDeletion(repo, id)
}

// ReconcileInterval is how often the agent reconciles without an event. The files of an undone backup, in a repository that was not
// mounted, are removed when the repository is back.
const ReconcileInterval = 10 * time.Minute
