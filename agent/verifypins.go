package agent

import (
	"errors"
	"sync"

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
func (a *Agent) pinChain(point record.Backup) ([]record.Backup, error) {
	point, err := a.restorePoint(point.ID) // as it is now
	if err != nil {
		return nil, err
	}
	points := []record.Backup{point}
	for point.Parent != "" && len(points) < maxChain {
		parent, err := a.Backup(point.Parent)
		if AsError(err).has(BackupNotFound) {
			break // its child's manifest names it
		}
		if err := errors.Join(err, exchanging(parent)); err != nil {
			return nil, err
		}
		points, point = append(points, parent), parent
	}
	for _, p := range points {
		a.verifying.pins[p.ID]++
	}
	return points, nil
}

func (a *Agent) unpin(points []record.Backup) {
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	for _, p := range points {
		if a.verifying.pins[p.ID]--; a.verifying.pins[p.ID] <= 0 {
			delete(a.verifying.pins, p.ID)
		}
	}
}

// whileUnverified does something that makes a restore point, or a file of it, another, while nobody verifies it. Where somebody
// has asked for a verification, it is refused: BeingVerified. One of the schedule's own gives way.
func (a *Agent) whileUnverified(id string, f func() error) error {
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	if a.verifying.pins[id] > 0 {
		e := errorf(BeingVerified, "backup %s is being verified", id)
		e.BackupID, e.Hint = id, "wait for the end of the verification, and try again"
		return e
	}
	if s := a.verifying.next; s != nil && s.backupID == id {
		s.cancel(errGivenWay)
	}
	return f()
}
