package agenttest

import (
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// EndOnRecord sets a backup to failed in the database of a stopped agent, as if the agent had died half way.
func (w *World) EndOnRecord(id string) {
	w.Helper()
	s, err := store.Open(filepath.Join(w.Config.Agent.StateDirectory, "agent.db"), store.Options{})
	Must(w.TB, err)
	for _, state := range []record.State{record.Undoing, record.Failed} {
		_, _, err := s.Update(id, time.Now(), func(b *record.Backup) error {
			b.State, b.Failure = state, &record.Failure{Reason: "test", Message: "ended on record"}
			return nil
		})
		Must(w.TB, err)
	}
	Must(w.TB, s.Close())
}
