package agent

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/store"
)

// TestCancelNotWaitedFor: a caller who does not wait is told that the backup is cancelled all the same, whatever keeps it from
// ending: a database that refuses writes, or a start that holds the admission.
func TestCancelNotWaitedFor(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "agent.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.Check(context.Background()), s.Close()); err != nil {
			t.Error(err)
		}
	}()
	a := &Agent{store: s, admission: semaphore.NewWeighted(1), runs: newJobSet[*run](newJobGroup()), rewrites: newJobSet[*rewriting](newJobGroup())}
	work, cancel := context.WithCancelCause(t.Context())
	a.runs.all["endless"] = &run{agent: a, life: life{id: "endless", cancel: cancel, done: make(chan struct{})}}
	if !a.admission.TryAcquire(1) {
		t.Fatal("somebody is being admitted")
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for _, id := range []string{"endless", "not known"} {
		_, err := a.CancelBackup(gone, id)
		var said *Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &said) || said.BackupID != id || said.Hint == "" {
			t.Errorf("%s: got %v", id, err)
		}
	}
	if cause := context.Cause(work); !errors.Is(cause, errCancelled) {
		t.Errorf("the run goes on: %v", cause)
	}
}
