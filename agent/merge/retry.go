package merge

import (
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/store"
)

// RetryWhileSwapping calls f again, for up to 30 seconds, while f fails for one of two reasons. A merge commits, which takes no longer
// than a sync of the disk. Or the chosen parent was deleted or found damaged meanwhile: then f finds another one, or none.
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
