package agent_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units"
)

// TestOrphans: an exporter whose backup has ended is removed when the agent comes back. A unit of somebody else that looks
// like one of ours survives.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	foreign := "sendense-nbd-backup-somebody-1-disk0-00000000"
	_, err := w.units.Start(t.Context(), units.Spec{
		Name: foreign, Argv: []string{"/bin/sh", "-c", "sleep 600 & exit 0"}, ListenAddress: "127.0.0.1:20000",
	})
	must(t, err)
	w.stop()
	w.endOnRecord(b.ID)
	w.start()
	orphan := b.Runs[0].Unit
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := w.units.Get(t.Context(), orphan); errors.Is(err, units.ErrNotFound) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("orphan %s is still there", orphan)
		}
	}
	if u, err := w.units.Get(t.Context(), foreign); err != nil || !u.Running() {
		t.Errorf("the unit of somebody else is %s/%s: %v", u.ActiveState, u.SubState, err)
	}
	must(t, w.units.Remove(t.Context(), foreign))
	w.sna.Release("copy/0")
	repo := filepath.Dir(filepath.Dir(b.Directory))
	w.removeAll(filepath.Join(repo, "vm"))
}

// endOnRecord makes a backup failed in the database of an agent that is stopped, as if it had died half way.
func (w *world) endOnRecord(id string) {
	w.Helper()
	s, err := store.Open(filepath.Join(w.config.Agent.StateDirectory, "agent.db"), store.Options{})
	must(w.T, err)
	for _, state := range []backup.State{backup.Undoing, backup.Failed} {
		_, _, err := s.Update(id, time.Now(), func(b *backup.Backup) error {
			b.State, b.Failure = state, &backup.Failure{Reason: "test", Message: "ended on record"}
			return nil
		})
		must(w.T, err)
	}
	must(w.T, s.Close())
}
