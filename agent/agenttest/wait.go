package agenttest

import (
	"cmp"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// ThreePoints makes a full backup and two incrementals of a VM.
func (w Chains) ThreePoints(name string) (points []Instant) {
	w.Helper()
	_, sources := w.PutVM(name, 4<<20)
	for i, kind := range []record.Type{record.Full, record.Incremental, record.Incremental} {
		Scribble(w.TB, sources[0], int64(i+1)<<20)
		points = append(points, Instant{Backup: w.Point(name, kind), Disks: Freeze(w.TB, sources)})
	}
	return points
}

// WaitsFor waits until a merge waits for something. whom is a part of its name.
func (w Merges) WaitsFor(id, whom string) {
	w.Helper()
	w.Eventually("merge of "+id+" waits for "+whom, func() bool {
		p, ok := w.Agent.Merges.Progress(id)
		return ok && p.Phase == "waiting" && strings.Contains(p.WaitsFor, whom)
	})
}

// Canceled cancels a merge, and fails the test unless its caller gets that error.
func (w Merges) Canceled(id string, done <-chan error) {
	w.Helper()
	_, err := w.Agent.Backups.Cancel(w.Context(), id)
	Must(w.TB, err)
	var e *fault.Error
	if err := <-done; !errors.As(err, &e) || e.Reason != fault.WrongState || !strings.Contains(err.Error(), "canceled") {
		w.Errorf("the merge of %s ended with %v", id, err)
	}
}

// StopMerge stops the qemu-img that merges in a directory, as soon as there is one, and returns its PID. A short merge is over within
// milliseconds, so it looks all the time.
func (w *World) StopMerge(dir string) (pid int) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; {
		if pid = cmp.Or(ProcessOf("convert", dir), ProcessOf("rebase", dir)); pid != 0 && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			systemdtest.StopProcess(w, pid)
			return pid
		}
		if time.Now().After(deadline) {
			w.Fatalf("after %s: no qemu-img merges in %s", patience, dir)
		}
	}
}

// PruneAndRead applies the policies, and starts a restore from a while its merge is in progress. It returns when the merge waits for the
// restore.
func (w *World) PruneAndRead(a []Instant) (done <-chan prune.Report, restoreID string) {
	w.Helper()
	reports := make(chan prune.Report, 1)
	go func() {
		report, err := w.Agent.Policies.Prune(w.Context(), prune.Request{All: true})
		if err != nil {
			w.Error(err)
		}
		reports <- report
	}()
	pid := w.StopMerge(filepath.Dir(a[0].Directory) + "/")
	r, err := w.Agent.Restores.Start(w.Context(), restore.Request{BackupID: a[2].ID})
	Must(w.TB, err)
	Must(w.TB, syscall.Kill(pid, syscall.SIGCONT))
	w.Merges.WaitsFor(a[2].ID, "restore "+r.ID)
	return reports, r.ID
}
