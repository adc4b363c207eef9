// Package repositories is the set of configured repositories, with what all of them share: the keys, the exporters' account, QEMU's
// tools, the free space that must remain, and the slots for reading whole images. The content of one repository belongs to package
// repository.
package repositories

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Parts are what a Set uses.
type Parts struct {
	Config *config.Config
	Tools  qemu.Tools
	Log    *slog.Logger
}

// A Set is the configured repositories. Its methods may be called from any goroutine.
type Set struct {
	Parts
	All   []*repository.Repository // in the order of the configuration
	reads *reads
}

// New returns the configured repositories. It reads none of them. owner is the user and group of the directories of backups; nil for the
// agent's own.
func New(p Parts, owner *repository.Owner) *Set {
	s := &Set{Parts: p, reads: newReads()}
	for _, r := range p.Config.Repositories {
		s.All = append(s.All, repository.New(r.ID, r.Path, owner))
	}
	repository.KeepApart(s.All, stateDirectory(p.Config))
	return s
}

// DirsOf returns the directories of restore points, in their order.
func DirsOf(repo *repository.Repository, points []record.Backup) []string {
	dirs := make([]string, len(points))
	for i, p := range points {
		dirs[i] = DirOf(repo, p)
	}
	return dirs
}

// DirOf returns the directory of the images of a backup, by the present path of the repository. The path may have been another one when
// the backup was made.
func DirOf(repo *repository.Repository, b record.Backup) string {
	return repo.Dir(nbd.DirName(b.VM.Name), b.ID)
}

// RequireMounted fails if a repository is not mounted: an empty directory is taken for the mount point of a network file system.
func RequireMounted(repo *repository.Repository) error {
	entries, err := os.ReadDir(repo.Path)
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("repository %s: %s is empty: is it mounted?", repo.ID, repo.Path)
	}
	return err
}

// Deletable returns the repository of a backup, or why the backup cannot be deleted. It does not check for children.
func (s *Set) Deletable(b record.Backup) (*repository.Repository, error) {
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
	return nil, fault.New(fault.RepositoryNotFound, "repository %q is not configured", id).WithHint("repository.list shows the configured ones")
}
