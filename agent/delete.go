package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// DeleteBackup removes a backup that has ended: its restore point, what was set aside of it, and its record. It returns when
// that is done. That it is being deleted is on record first, so that a crash, or a repository that is away, only delays the
// rest. One that others stand on stays: HasChildren. A restore point whose directory is not there stays on record, since its
// repository may not be mounted, unless missingOK. To delete what was deleted already is no error.
func (a *Agent) DeleteBackup(ctx context.Context, id string, missingOK bool) error {
	repo, err := a.markDeleting(id, missingOK)
	if err != nil || repo == nil {
		return err
	}
	done := make(chan error, 1)
	if err := a.jobs.spawn(func() { done <- a.finishDeletion(repo, id) }); err != nil {
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
func (a *Agent) markDeleting(id string, missingOK bool) (*repository.Repository, error) {
	b, err := a.Backup(id)
	if AsError(err).has(BackupNotFound) {
		if removed, err := a.store.Removed(id); removed || err != nil {
			return nil, AsError(err).orNil()
		}
	}
	if err != nil {
		return nil, err
	}
	repo, err := a.deletable(b)
	if err != nil || b.State == record.Deleting {
		return repo, err
	}
	if err := checkThere(repo, b); err != nil && !missingOK {
		return nil, err
	}
	err = a.whileUnverified(id, func() error {
		_, err := a.advance(id, record.Deleting, nil)
		return err
	})
	var pinned *store.PinnedError
	var served *store.ServedError
	var rewriting *store.MergingError
	switch {
	case errors.As(err, &rewriting):
		return nil, rewriteRefused(id, err)
	case errors.As(err, &pinned):
		return nil, a.pinnedError(id)
	case errors.As(err, &served):
		e := errorf(BeingRestored, "backup %s is being read by restore %s", id, served.RestoreID)
		e.BackupID, e.RestoreID, e.Hint = id, served.RestoreID, "stop the restore first (restore.stop), or wait until it expires"
		return nil, e
	case AsError(notFound(err)).has(BackupNotFound): // somebody else was faster
		return nil, nil
	}
	return repo, AsError(err).orNil()
}

// deletable says why a backup cannot be deleted, whatever stands on it.
func (a *Agent) deletable(b record.Backup) (*repository.Repository, error) {
	if b.State.Active() {
		e := errorf(WrongState, "backup %s is %s: only a backup that has ended can be deleted", b.ID, b.State)
		e.BackupID, e.Hint = b.ID, "cancel it, or wait for its end"
		return nil, e
	}
	repo, err := a.findRepository(b.Repository)
	if err != nil {
		return nil, err
	}
	if dir := repo.Dir(nbd.DirName(b.VM.Name), b.ID); b.Directory != "" && b.Directory != dir {
		e := errorf(RepositoryFailed, "backup %s is on record in %s, and repository %s would have it in %s", b.ID, b.Directory, repo.ID, dir)
		e.BackupID, e.Hint = b.ID, "set the repository's path back to what it was; if the repository was moved, make the database anew (docs/operations.md, Move a repository)"
		return nil, e
	}
	return repo, nil
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
	e := errorf(RepositoryFailed, "backup %s: %s: %w", b.ID, b.Directory, err)
	e.BackupID = b.ID
	e.Hint = "is the repository mounted? If its directory is gone for good, delete the record with missing_ok (--missing-ok)"
	return e
}

// pinnedError names what stands on a backup.
func (a *Agent) pinnedError(id string) error {
	children, err := a.store.Children(id)
	if err != nil {
		return AsError(err)
	}
	names := make([]string, len(children))
	for i, c := range children {
		names[i] = c.ID
	}
	e := errorf(HasChildren, "backup %s is what %s stands on", id, strings.Join(names, ", "))
	e.BackupID, e.Hint = id, "delete first what stands on it, the newest first"
	return e
}

// finishDeletion removes what a backup that is being deleted has in its repository, and then its record. It may be called
// again, and from several goroutines at once.
func (a *Agent) finishDeletion(repo *repository.Repository, id string) error {
	_, err, _ := a.deletions.Do(id, func() (any, error) { return nil, a.deleteNow(repo, id) })
	return err
}

func (a *Agent) deleteNow(repo *repository.Repository, id string) error {
	b, err := a.store.Backup(id)
	if AsError(notFound(err)).has(BackupNotFound) {
		return nil
	}
	if err != nil {
		return AsError(err)
	}
	if err := a.store.SecondCopy(); err != nil { // what is removed is not a restore point again, whichever page of the database is lost
		return AsError(err)
	}
	if err := removeAll(repo, b); err != nil {
		e := errorf(RepositoryFailed, "backup %s is no restore point any more, but is not removed yet: %w", id, err)
		e.BackupID, e.Hint = id, "it is tried again every "+reconcileInterval.String()+", or delete it again when the cause is gone"
		a.log.Error("a deleted backup cannot be removed yet", logBackupID, id, logDirectory, b.Directory, logError, err)
		return e
	}
	failpoint.Reach("delete: files removed")
	if err := a.store.RemoveBackup(id, time.Now()); err != nil {
		return AsError(err)
	}
	failpoint.Reach("delete: record removed")
	a.catalogs.settled(b.Repository)
	a.log.Info("backup deleted", logBackupID, id, logVM, b.VM.Name)
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

// resumeDeletion goes on with a deletion that a crash or an unreachable repository has cut short.
func (a *Agent) resumeDeletion(id string) error {
	b, err := a.Backup(id)
	if AsError(err).has(BackupNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	repo, err := a.deletable(b)
	if err != nil {
		return err
	}
	return a.finishDeletion(repo, id)
}
