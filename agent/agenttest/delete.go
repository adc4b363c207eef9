package agenttest

import (
	"os"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// Delete deletes a backup.
func (w *World) Delete(id string) error { return w.Agent.Policies.Delete(w.Context(), id, false) }

// Gone checks that nothing is left of a deleted backup except its id, which is never used again.
func (w *World) Gone(b record.Backup) {
	w.Helper()
	_, err := w.Agent.Records.Backup(b.ID)
	WantError(w.TB, err, fault.BackupNotFound, b.ID)
	if _, err := os.Lstat(b.Directory); !os.IsNotExist(err) {
		w.Errorf("%s is left behind: %v", b.Directory, err)
	}
	if removed, err := w.Store.Removed(b.ID); !removed || err != nil {
		w.Errorf("removed %v, error %v", removed, err)
	}
}
