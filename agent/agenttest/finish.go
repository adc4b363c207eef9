package agenttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// FailsWhile runs a backup of the VM vm up to a point, calls harm, continues the backup, and checks that it fails with a reason.
func (w *World) FailsWhile(point string, harm func(b record.Backup), reason fault.Reason) record.Backup {
	w.Helper()
	w.SNA.Hold(point)
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(w.Context(), b.ID, point)
	Must(w.TB, err)
	b, err = w.Agent.Records.Backup(b.ID)
	Must(w.TB, err)
	harm(b)
	w.SNA.Release(point)
	b = w.Wait(b.ID)
	if b.State != record.Failed || b.Failure.Reason != string(reason) {
		w.Errorf("backup is %s, %+v; want failed for %s", b.State, b.Failure, reason)
	}
	if _, err := os.Stat(filepath.Join(b.Directory, "manifest.json")); err == nil {
		w.Errorf("a failed backup has a manifest")
	}
	if _, found, err := w.Store.LatestCompleted("vm", "main"); err != nil || found {
		w.Errorf("a failed backup is a restore point: %v", err)
	}
	w.Clean()
	return b
}

// Kill kills a process.
func Kill(t testing.TB, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	Must(t, err)
	Must(t, p.Kill())
}
