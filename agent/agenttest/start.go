package agenttest

import (
	"errors"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// Completes waits for the end of a backup, and fails the test unless it completed, its images equal their sources, and the SNA was asked
// once.
func (w *World) Completes(b record.Backup, sources []string) record.Backup {
	w.Helper()
	b = w.Wait(b.ID)
	if b.State != record.Completed {
		w.Fatalf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
	}
	for i, d := range b.Runs {
		w.Compare(sources[i], d.Image)
		if d.ChangeID == "" || d.Result != "success" || d.ReceivedBytes == 0 {
			w.Errorf("disk %d: change id %q, result %q, %d bytes received", d.DiskID, d.ChangeID, d.Result, d.ReceivedBytes)
		}
	}
	if n := w.Posts(b.ID); n != 1 {
		w.Errorf("the SNA was asked %d times, want once", n)
	}
	return b
}

// WantError fails the test unless err is a *fault.Error with a reason, and with words in its message. It returns the error.
func WantError(t testing.TB, err error, reason fault.Reason, words string) *fault.Error {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want reason %s", err, reason)
	}
	if e.Reason != reason || !strings.Contains(e.Message, words) {
		t.Errorf("error %s: %s; want reason %s and the words %q", e.Reason, e.Message, reason, words)
	}
	return e
}
