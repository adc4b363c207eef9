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
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// Delete removes a backup that has ended: its restore point, what was set aside of it, and its record. It returns when
// that is done. That it is being deleted is on record first, so that a crash, or a repository that is away, only delays the
// rest. One that others stand on stays: HasChildren. A restore point whose directory is not there stays on record, since its
// repository may not be mounted, unless missingOK. To delete what was deleted already is no error.
func (s *Service) Delete(ctx context.Context, id string, missingOK bool) error {
	repo, err := s.markDeleting(id, missingOK)
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

// markDeleting writes down that a backup goes, and returns the repository it is in; nil if it is gone already.
func (s *Service) markDeleting(id string, missingOK bool) (*repository.Repository, error) {
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
	if err != nil || b.State == record.Deleting {
		return repo, err
	}
	if err := checkThere(repo, b); err != nil && !missingOK {
		return nil, err
	}
	err = s.Verifications.Exclusively(id, func() error {
		_, err := s.Records.Advance(id, record.Deleting, nil)
		return err
	})
	var pinned *store.PinnedError
	var served *store.ServedError
	var rewriting *store.MergingError
	switch {
	case errors.As(err, &rewriting):
		return nil, merge.Refused(id, err)
	case errors.As(err, &pinned):
		return nil, s.pinnedError(id)
	case errors.As(err, &served):
		e := fault.New(fault.BeingRestored, "backup %s is being read by restore %s", id, served.RestoreID)
		e.BackupID, e.RestoreID, e.Hint = id, served.RestoreID, "stop the restore first (restore.stop), or wait until it expires"
		return nil, e
	case fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound): // somebody else was faster
		return nil, nil
	}
	return repo, fault.From(err).OrNil()
}

// checkThere returns an error when the directory of a restore point is not where it must be.
func checkThere(repo *repository.Repository, b record.Backup) error {
	there, err := repo.Exists(nbd.DirName(b.VM.Name), b.ID)
	if err == nil && (there || b.State != record.Completed) {
		return nil
	}
	if err == nil {
		err = errors.New("there is no such directory")
	}
	e := fault.New(fault.RepositoryFailed, "backup %s: %s: %w", b.ID, b.Directory, err)
	e.BackupID = b.ID
	e.Hint = "check that the repository is mounted. If the directory is lost, delete the record with missing_ok (--missing-ok)"
	return e
}

// pinnedError names what stands on a backup.
func (s *Service) pinnedError(id string) error {
	children, err := s.Store.Children(id)
	if err != nil {
		return fault.From(err)
	}
	names := make([]string, len(children))
	for i, c := range children {
		names[i] = c.ID
	}
	e := fault.New(fault.HasChildren, "backup %s is the parent of %s", id, strings.Join(names, ", "))
	e.BackupID, e.Hint = id, "delete its children first, the newest first"
	return e
}

// finishDeletion removes what a backup that is being deleted has in its repository, and then its record. It may be called
// again, and from several goroutines at once.
func (s *Service) finishDeletion(repo *repository.Repository, id string) error {
	_, err, _ := s.deletions.Do(id, func() (any, error) { return nil, s.deleteNow(repo, id) })
	return err
}

func (s *Service) deleteNow(repo *repository.Repository, id string) error {
	b, err := s.Store.Backup(id)
	if fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound) {
		return nil
	}
	if err != nil {
		return fault.From(err)
	}
	if err := s.Store.SecondCopy(); err != nil { // what is removed is not a restore point again, whichever page of the database is lost
		return fault.From(err)
	}
	if err := removeAll(repo, b); err != nil {
		e := fault.New(fault.RepositoryFailed, "backup %s is no longer a restore point, but its files are not removed yet: %w", id, err)
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

// removeAll removes what a backup has in its repository. A directory that it did not make stays, unless it is empty.
func removeAll(repo *repository.Repository, b record.Backup) error {
	vm := nbd.DirName(b.VM.Name)
	if _, err := repo.Exists(vm, b.ID); err != nil {
		return err // an unreachable repository looks like one in which nothing is left
	}
	remove := repo.RemovePoint
	if !b.DirectoryMade {
		remove = repo.RemoveEmptyDir
	}
	failpoint.Reach("delete: before files")
	err := remove(vm, b.ID)
	failpoint.Reach("delete: before what was set aside")
	return errors.Join(err, repo.RemoveAside(vm, b.ID))
}

// ResumeDeletion goes on with a deletion that a crash or an unreachable repository has cut short.
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
	return s.finishDeletion(repo, id)
}

// ReconcileInterval is how often the agent looks whether records and world agree, beside being told: a repository that was
// away when a backup was undone gives back what is left in it when it returns.
const ReconcileInterval = 10 * time.Minute
