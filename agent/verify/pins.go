package verify

import (
	"errors"
	"sync"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// verifying is what is being verified now. It is in memory only: a verification does not outlive its agent, and nobody else
// deletes restore points.
type verifying struct {
	mu   sync.Mutex // held while a restore point is pinned, and while one is marked to be deleted
	pins map[string]int
	jobs map[verifyKey]*Verification
	next *scheduled // the restore point that the schedule has at work; nil for none
}

type verifyKey struct {
	backupID string
	deep     bool
}

// pinChain keeps a restore point and all it stands on from being deleted, and returns them, the newest first. What they stand on
// may be missing on record: then the chain is as long as it is known. The caller holds verifying.mu.
func (s *Service) pinChain(point record.Backup) ([]record.Backup, error) {
	point, err := s.restorePoint(point.ID) // as it is now
	if err != nil {
		return nil, err
	}
	points := []record.Backup{point}
	for point.Parent != "" && len(points) < chain.MaxChain {
		parent, err := s.Records.Backup(point.Parent)
		if fault.From(err).Has(fault.BackupNotFound) {
			break // its child's manifest names it
		}
		if err := errors.Join(err, exchanging(parent)); err != nil {
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

// Exclusively does something that makes a restore point, or a file of it, another, while nobody verifies it. Where somebody
// has asked for a verification, it is refused: BeingVerified. One of the schedule's own gives way.
func (a *Service) Exclusively(id string, f func() error) error {
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	if a.verifying.pins[id] > 0 {
		e := fault.New(fault.BeingVerified, "backup %s is being verified", id)
		e.BackupID, e.Hint = id, "wait until the verification ends, then try again"
		return e
	}
	if s := a.verifying.next; s != nil && s.backupID == id {
		s.cancel(errGivenWay)
	}
	return f()
}
