package repository

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// TestLeftovers: only directories in the place of a backup's, without a manifest, are listed; only an empty one is removed.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	r := New("main", dir, nil)
	for _, name := range []string{"vm/backup-vm-1", "vm/backup-vm-2", "vm/backup-vm-3", ".failed/vm/backup-vm-4"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"vm/backup-vm-1/" + manifest.FileName, "vm/backup-vm-2/x.qcow2", "vm/note"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := r.Unpublished()
	if err != nil || len(found) != 2 || found[0] != (Entry{"vm", "backup-vm-2", false}) || found[1] != (Entry{"vm", "backup-vm-3", true}) {
		t.Errorf("%+v, %v", found, err)
	}
	for _, id := range []string{"backup-vm-1", "backup-vm-2", "backup-vm-3", "backup-vm-9"} {
		if err := r.RemoveEmptyDir("vm", id); err != nil {
			t.Error(err)
		}
	}
	for id, there := range map[string]bool{"backup-vm-1": true, "backup-vm-2": true, "backup-vm-3": false} {
		if _, err := os.Stat(filepath.Join(dir, "vm", id)); (err == nil) != there {
			t.Errorf("%s is there: %v", id, err == nil)
		}
	}
}
