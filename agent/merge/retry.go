package merge

import (
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/store"
)

// RetryWhileSwapping tries again for a while what is refused because a restore point is being exchanged, which takes no longer than a disk
// takes to sync, or because the parent that was chosen has been deleted, or found damaged, since: then another one is found, or none.
func (s *Service) RetryWhileSwapping(f func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := f()
		var merging *store.MergingError
		var parent *store.ParentError
		var damaged *store.DamagedError
		moved := errors.As(err, &merging) || errors.As(err, &parent) || errors.As(err, &damaged)
		if !moved || time.Now().After(deadline) || !job.Pause(s.Jobs.Work, 100*time.Millisecond) {
			return err
		}
	}
}
