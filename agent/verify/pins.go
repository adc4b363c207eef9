package verify

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// verifying is what is being verified now. It is in memory only: a verification ends with its agent, and only the agent deletes
// restore points.
type verifying struct {
	mu   sync.Mutex // guards the maps; held only for a moment
	pins map[string]int
	jobs map[verifyKey]*Verification
	next map[string]*scheduled // the restore point that the schedule verifies now, by repository

	// By repository, 1 slot: held while a restore point is being pinned, and while Exclusively runs, which may hang with the repository.
	change map[string]*semaphore.Weighted
}

// hold waits for the slot of a repository, and returns what gives it back. The error is the cause of ctx.
func (v *verifying) hold(ctx context.Context, repository string) (release func(), err error) {
	v.mu.Lock()
	slot := v.change[repository]
	if slot == nil {
		slot = semaphore.NewWeighted(1)
		v.change[repository] = slot
	}
	v.mu.Unlock()
	if err := slot.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { slot.Release(1) }, nil
}

type verifyKey struct {
	backupID string
	deep     bool
}

// pinChain pins a restore point and all it is based on, so that they cannot be deleted, and returns them, the newest first. The chain
// ends at a parent that is not on record. The caller holds the slot of the repository.
func (s *Service) pinChain(point record.Backup) ([]record.Backup, error) {
	point, err := s.restorePoint(point.ID) // its current record
	if err != nil {
		return nil, err
	}
	points := []record.Backup{point}
	for point.Parent != "" && len(points) < chain.MaxChain {
		parent, err := s.Records.Backup(point.Parent)
		if fault.From(err).Has(fault.BackupNotFound) {
			break // the report on its child names it
		}
		if err := errors.Join(err, checkNotMerging(parent)); err != nil {
			return nil, err
		}
		points, point = append(points, parent), parent
	}
	s.verifying.mu.Lock()
	defer s.verifying.mu.Unlock()
	for _, p := range points {
		s.verifying.pins[p.ID]++
	}
	return points, nil
}

func (s *Service) unpin(points []record.Backup) {
	s.verifying.mu.Lock()
	defer s.verifying.mu.Unlock()
	s.drop(points)
}

// drop is unpin for a caller that holds verifying.mu.
func (s *Service) drop(points []record.Backup) {
	for _, p := range points {
		if s.verifying.pins[p.ID]--; s.verifying.pins[p.ID] <= 0 {
			delete(s.verifying.pins, p.ID)
		}
	}
}

// Exclusively calls f, which changes or deletes a restore point of a repository, while no verification reads it. If a requested
// verification is in progress, it fails: BeingVerified. A verification of the schedule is preempted. It waits for other calls in the same
// repository, until ctx ends.
func (a *Service) Exclusively(ctx context.Context, repository, id string, f func() error) error {
	release, err := a.verifying.hold(ctx, repository)
	if err != nil {
		return err
	}
	defer release()
	if a.preempt(repository, id) {
		return fault.New(fault.BeingVerified, "backup %s is being verified", id).OfBackup(id).
			WithHint("wait until the verification ends, then try again")
	}
	return f()
}

// preempt says whether a requested verification reads a restore point. If none does, it stops one of the schedule that does.
func (a *Service) preempt(repository, id string) (read bool) {
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	if a.verifying.pins[id] > 0 {
		return true
	}
	if s := a.verifying.next[repository]; s != nil && s.backupID == id {
		s.cancel(errPreempted)
	}
	return false
}
