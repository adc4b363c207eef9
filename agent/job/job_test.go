package job

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestUntilRecorded: a change that the database cannot write for a moment is repeated. A change that is not allowed is not. When the
// agent ends, so do the attempts.
func TestUntilRecorded(t *testing.T) {
	hard, stop := context.WithCancel(t.Context())
	r := &Job{group: &Group{Hard: hard}, log: slog.New(slog.DiscardHandler), ID: "b"}
	tries := 0
	err := r.UntilRecorded(func() error {
		if tries++; tries < 3 {
			return errors.New("no space left on device")
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	tries = 0
	err = r.UntilRecorded(func() error {
		tries++
		return record.CheckTransition(record.Completed, record.Undoing)
	})
	var illegal *record.IllegalTransitionError
	if !errors.As(err, &illegal) || tries != 1 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	err = r.UntilRecorded(func() error {
		stop()
		return errors.New("no space left on device")
	})
	if !errors.Is(err, ErrStopping) {
		t.Errorf("the agent has ended, and the change: %v", err)
	}
}
