package backup

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/verify"
)

// TestCancelNotWaitedFor: a caller that does not wait is told that the backup is being canceled, whatever delays its end: a
// database that refuses writes, or a start that holds the admission.
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
	jobs := job.NewGroup()
	records := ledger.New(ledger.Parts{Store: s})
	merges := merge.New(merge.Parts{Config: new(config.Config), Jobs: jobs})
	verifications := verify.New(verify.Parts{Config: new(config.Config), Jobs: jobs})
	a := New(Parts{
		Store: s, Records: records, Jobs: jobs, Admission: admission.New(admission.Parts{}), Merges: merges, Verifications: verifications,
	})
	work, cancel := context.WithCancelCause(t.Context())
	a.Active.All["endless"] = &Job{service: a, Job: job.Job{ID: "endless", Cancel: cancel, Done: make(chan struct{})}}
	if !a.Admission.Turn.TryAcquire(1) {
		t.Fatal("somebody is being admitted")
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for _, id := range []string{"endless", "not known"} {
		_, err := a.Cancel(gone, id)
		var said *fault.Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &said) || said.BackupID != id || said.Hint == "" {
			t.Errorf("%s: got %v", id, err)
		}
	}
	if cause := context.Cause(work); !errors.Is(cause, errCancelled) {
		t.Errorf("the job continues: %v", cause)
	}
}
