package verify

import (
	"errors"
	"sync"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// verifying is what is being verified now. It is in memory only: a verification ends with its agent, and only the agent deletes
// restore points.
type verifying struct {
	mu   sync.Mutex // held while a restore point is being pinned, and while Exclusively runs
	pins map[string]int
	jobs map[verifyKey]*Verification
	next *scheduled // the restore point that the schedule verifies now; nil for none
}

type verifyKey struct {
	backupID string
	deep     bool
}

// pinChain pins a restore point and all it is based on, so that they cannot be deleted, and returns them, the newest first. The chain
// ends at a parent that is not on record. The caller holds verifying.mu.
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
	for _, p := range points {
		s.verifying.pins[p.ID]++
	}
	return points, nil
}

func (s *Service) unpin(points []record.Backup) {
	s.verifying.mu.Lock()
	defer s.verifying.mu.Unlock()
	for _, p := range points {
		if s.verifying.pins[p.ID]--; s.verifying.pins[p.ID] <= 0 {
			delete(s.verifying.pins, p.ID)
		}
	}
}

// Exclusively calls f, which changes or deletes a restore point, while no verification reads it. If a requested verification is in
// progress, it fails: BeingVerified. A verification of the schedule is preempted.
func (a *Service) Exclusively(id string, f func() error) error {
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	if a.verifying.pins[id] > 0 {
		return fault.New(fault.BeingVerified, "backup %s is being verified", id).OfBackup(id).
			WithHint("wait until the verification ends, then try again")
	}
	if s := a.verifying.next; s != nil && s.backupID == id {
		s.cancel(errPreempted)
	}
	return f()
}
