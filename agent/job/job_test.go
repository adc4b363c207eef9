package job

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestUntilRecorded: a database that refuses a write for a moment is asked again; a change that is not allowed is not; and
// the end of the agent ends the asking.
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
