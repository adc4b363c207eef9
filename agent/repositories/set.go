// Package repositories is the set of configured repositories, with what all of them share: the keys, the exporters' account,
// the free space that must remain, and the slots for reading whole images. The content of one repository belongs to package
// repository.
package repositories

import (
	"errors"
	"log/slog"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
)

// Parts are what a Set uses.
type Parts struct {
	Config *config.Config
	Log    *slog.Logger
	// Connect starts the process of a repository; nil: its operations run in the calling process.
	Connect storage.Connect
	// OnChange is called when a repository becomes stuck, and when it answers again; may be nil.
	OnChange func()
	// Observe is called with the time that each operation took, and its kind: one of storage.Kinds. It may be nil.
	Observe func(repositoryID, kind string, took time.Duration)
}

// An Account is who touches image data: the user that runs qemu-img, and the owner of directories. Both are nil for the agent's own user.
type Account struct {
	Credential *syscall.Credential
	Owner      *repository.Owner
}

// A Set is the configured repositories. Its methods may be called from any goroutine.
type Set struct {
	Parts
	All   []*storage.Repository // in the order of the configuration
	reads *reads
}

// New returns the configured repositories. It reads none of them.
func New(p Parts, account Account) *Set {
	s := &Set{Parts: p, reads: newReads()}
	for _, r := range p.Config.Repositories {
		o := storage.Options{
			Spec: storage.Spec{
				ID: r.ID, Path: r.Path, Owner: account.Owner, QemuImg: p.Config.NBD.QemuImg, Credential: account.Credential,
			},
			Connect: p.Connect, OnChange: p.OnChange, Logger: p.Log,
		}
		if p.Observe != nil {
			o.Observe = func(kind string, took time.Duration) { p.Observe(r.ID, kind, took) }
		}
		s.All = append(s.All, storage.New(o))
	}
	storage.KeepApart(s.All, stateDirectory(p.Config))
	return s
}

// Close ends the processes of the repositories. It waits for nothing that hangs.
func (s *Set) Close() error {
	var errs []error
	for _, r := range s.All {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// StuckSince says since when a repository does not answer, and whether that is so.
func (s *Set) StuckSince(id string) (since time.Time, stuck bool) {
	r, err := s.Find(id)
	if err != nil {
		return time.Time{}, false
	}
	h := r.Health()
	return h.Since, h.State == storage.Stuck
}

// DirsOf returns the directories of restore points, in their order.
func DirsOf(repo *storage.Repository, points []record.Backup) []string {
	dirs := make([]string, len(points))
	for i, p := range points {
		dirs[i] = DirOf(repo, p)
	}
	return dirs
}

// DirOf returns the directory of the images of a backup, by the present path of the repository. The path may have been another one when
// the backup was made.
func DirOf(repo *storage.Repository, b record.Backup) string {
	return repo.Dir(nbd.DirName(b.VM.Name), b.ID)
}

// Deletable returns the repository of a backup, or why the backup cannot be deleted. It does not check for children.
func (s *Set) Deletable(b record.Backup) (*storage.Repository, error) {
	if b.State.Active() {
		return nil, fault.New(fault.WrongState, "backup %s is %s: only a backup that has ended can be deleted", b.ID, b.State).OfBackup(b.ID).
			WithHint("cancel it, or wait until it ends")
	}
	repo, err := s.Find(b.Repository)
	if err != nil {
		return nil, err
	}
	if dir := repo.Dir(nbd.DirName(b.VM.Name), b.ID); b.Directory != "" && b.Directory != dir {
		return nil, fault.New(fault.RepositoryFailed, "backup %s is on record in %s, but repository %s has the path %s for it", b.ID, b.Directory, repo.ID, dir).OfBackup(b.ID).
			WithHint("set the repository's path back. If the repository was moved, rebuild the database (docs/operations.md, Move a repository)")
	}
	return repo, nil
}

// RateLimit returns the configured rate limit of a repository in bytes per second; 0 = none.
func (s *Set) RateLimit(id string) int64 {
	for _, r := range s.Config.Repositories {
		if r.ID == id {
			return r.RateLimit.Bytes()
		}
	}
	return 0
}

// Find returns a configured repository; the empty id is the default one. It fails with reason RepositoryNotFound, or InvalidRequest if
// there is no default.
func (s *Set) Find(id string) (*storage.Repository, error) {
	if id == "" {
		id = s.Config.DefaultRepository
	}
	if id == "" {
		return nil, fault.New(fault.InvalidRequest, "repository_id is missing, and the configuration names no default_repository")
	}
	for _, r := range s.All {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, fault.New(fault.RepositoryNotFound, "repository %q is not configured", id).WithHint("repository.list shows the configured ones")
}
