package prune

import (
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
)

// applied is when the policies were last applied to each repository, as far as this agent did it. The database has the time from which
// they are applied to all of them.
type applied struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// note notes that the policies were applied to a repository. If they have been applied to every one since the time on record, the new
// time is recorded.
func (a *applied) note(s *Service, repository string, at time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	a.last[repository] = at
	oldest := at
	for _, r := range s.Repositories.All {
		last, ok := a.last[r.ID]
		if !ok {
			return nil
		}
		if last.Before(oldest) {
			oldest = last
		}
	}
	if err := s.Store.SetPruned(oldest); err != nil {
		return fault.From(err)
	}
	failpoint.Reach("prune: written down")
	return nil
}

// of returns when the policies were last applied to a repository; zero for never.
func (a *applied) of(s *Service, repository string) (time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.last[repository]; ok {
		return last, nil
	}
	return s.Store.Pruned()
}
