package agenttest

import (
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// ClientGone is the deadline for a client that is gone in tests. In production it is a minute. A busy machine may delay a client that is
// not gone.
const ClientGone = 8 * time.Second

// IsGone waits for the end of a backup whose client is gone, and returns it. The failure or its hint must contain all words.
func (w *World) IsGone(id string, words ...string) record.Backup {
	w.Helper()
	began := time.Now()
	b := w.Wait(id)
	if b.State != record.Failed || b.Failure.Reason != string(fault.ClientGone) {
		w.Fatalf("backup is %s, %+v", b.State, b.Failure)
	}
	if took := time.Since(began); took > ClientGone+time.Minute {
		w.Errorf("it was noticed only after %s", took)
	}
	for _, word := range append(words, b.ID, "sbak-"+b.ID) {
		if !strings.Contains(b.Failure.Message+"\n"+b.Failure.Hint, word) {
			w.Errorf("%q is not in: %s\n%s", word, b.Failure.Message, b.Failure.Hint)
		}
	}
	if !b.SnapshotMayRemain || b.CooldownUntil.IsZero() {
		w.Errorf("snapshot may remain: %v, cool-down until %s", b.SnapshotMayRemain, b.CooldownUntil)
	}
	w.Clean()
	return b
}
