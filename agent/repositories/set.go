// Package repositories is the set of configured repositories, with what all access to them shares: the keys, the exporters' account,
// QEMU's tools, the free space that must remain, and the slots of those who read images whole. What lies in one repository is package
// repository's.
package repositories

import (
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Parts are what a Set works with.
type Parts struct {
	Config *config.Config
	Tools  qemu.Tools
	Log    *slog.Logger
}

// A Set is the configured repositories. Its methods may be called from any goroutine.
type Set struct {
	Parts
	All   []*repository.Repository // in the order of the configuration
	reads *semaphore.Weighted      // of maxReads, one for each image that is being read whole
}

// New returns the repositories of the configuration. None of them is looked at. owner is the user and group of the directories of
// backups; nil for the agent's own.
func New(p Parts, owner *repository.Owner) *Set {
	s := &Set{Parts: p, reads: semaphore.NewWeighted(maxReads)}
	for _, r := range p.Config.Repositories {
		s.All = append(s.All, repository.New(r.ID, r.Path, owner))
	}
	repository.KeepApart(s.All, stateDirectory(p.Config))
	return s
}

// DirsOf are the directories that restore points lie in.
func DirsOf(repo *repository.Repository, points []record.Backup) []string {
	dirs := make([]string, len(points))
	for i, p := range points {
		dirs[i] = DirOf(repo, p)
	}
	return dirs
}

// DirOf is where the images of a backup lie in a repository as it is configured now: its path may be another one than when
// the backup was made.
func DirOf(repo *repository.Repository, b record.Backup) string {
	return repo.Dir(nbd.DirName(b.VM.Name), b.ID)
}

// RequireMounted fails when a repository is away: the mount point of a network file system that is not mounted is empty.
func RequireMounted(repo *repository.Repository) error {
	entries, err := os.ReadDir(repo.Path)
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("repository %s: %s is empty: is it mounted?", repo.ID, repo.Path)
	}
	return err
}

// Deletable says why a backup cannot be deleted, whatever stands on it.
func (s *Set) Deletable(b record.Backup) (*repository.Repository, error) {
	if b.State.Active() {
		e := fault.New(fault.WrongState, "backup %s is %s: only a backup that has ended can be deleted", b.ID, b.State)
		e.BackupID, e.Hint = b.ID, "cancel it, or wait until it ends"
		return nil, e
	}
	repo, err := s.Find(b.Repository)
	if err != nil {
		return nil, err
	}
	if dir := repo.Dir(nbd.DirName(b.VM.Name), b.ID); b.Directory != "" && b.Directory != dir {
		e := fault.New(fault.RepositoryFailed, "backup %s is on record in %s, but repository %s has the path %s for it", b.ID, b.Directory, repo.ID, dir)
		e.BackupID, e.Hint = b.ID, "set the repository's path back. If the repository was moved, rebuild the database (docs/operations.md, Move a repository)"
		return nil, e
	}
	return repo, nil
}

// maxReads bounds how many images are read whole at once, whatever backups they are of: each read has 8 MiB in memory, and
// more of them make no disk faster.
const maxReads = 4

// RateLimit is what the configuration says of a repository, in bytes per second.
func (s *Set) RateLimit(id string) int64 {
	for _, r := range s.Config.Repositories {
		if r.ID == id {
			return r.RateLimit.Bytes()
		}
	}
	return 0
}

// Find returns a configured repository; the empty id is the default one.
func (s *Set) Find(id string) (*repository.Repository, error) {
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
	e := fault.New(fault.RepositoryNotFound, "repository %q is not configured", id)
	e.Hint = "repository.list shows the configured ones"
	return nil, e
}
