package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// failsWhile runs a backup up to a point, does harm there, lets it go on, and expects it to fail.
func (w *world) failsWhile(point string, harm func(b record.Backup), reason agent.Reason) record.Backup {
	w.Helper()
	w.sna.Hold(point)
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(w.Context(), b.ID, point)
	must(w.TB, err)
	b, err = w.agent.Backup(b.ID)
	must(w.TB, err)
	harm(b)
	w.sna.Release(point)
	b = w.wait(b.ID)
	if b.State != record.Failed || b.Failure.Reason != string(reason) {
		w.Errorf("backup is %s, %+v; want failed for %s", b.State, b.Failure, reason)
	}
	if _, err := os.Stat(filepath.Join(b.Directory, "manifest.json")); err == nil {
		w.Errorf("a failed backup has a manifest")
	}
	if _, found, err := w.store.LatestCompleted("vm", "main"); err != nil || found {
		w.Errorf("a failed backup is a restore point: %v", err)
	}
	w.clean()
	return b
}

func kill(t testing.TB, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	must(t, err)
	must(t, p.Kill())
}

// TestKilledJustBeforeTheEnd: everything was copied and reported, and then an exporter is killed: what it held back is
// lost, so there is no restore point.
func TestKilledJustBeforeTheEnd(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	w.failsWhile("disconnect/1", func(b record.Backup) { kill(t, b.Runs[0].PID) }, agent.ExporterFailed)
}

// TestClientLingers: SBC has reported everything and stays connected past the wait: whatever it would still write is
// unknown.
func TestClientLingers(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.Disconnect = config.DurationOf(300 * time.Millisecond)
	})
	w.putVM("vm", 8<<20)
	w.sna.Hold("disconnect/0")
	b := w.wait(w.startBackup("vm").ID)
	w.sna.Release("disconnect/0")
	if b.State != record.Failed || b.Failure.Reason != string(agent.DeadlinePassed) || b.Failure.DiskID == nil {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
	w.clean()
}

// TestClientComesLate: a client that lingers within the wait harms nothing.
func TestClientComesLate(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 8<<20)
	w.sna.Hold("disconnect/0")
	b := w.startBackup("vm")
	w.waitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	w.sna.Release("disconnect/0")
	w.completes(b, sources)
}

// TestDiskNeverReported: a run that goes silent with a disk not reported fails at the deadline of progress.
func TestDiskNeverReported(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.NoProgress = config.DurationOf(time.Second)
	})
	w.putVM("vm", 1<<20, 1<<20)
	must(t, w.sna.SetFaults(snatest.Faults{SilentDisks: []int{1}}))
	b := w.wait(w.startBackup("vm").ID)
	if b.State != record.Failed || b.Failure.Reason != string(agent.DeadlinePassed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
}

// TestWholeRunDeadline: a run that goes on for too long fails, although it makes progress.
func TestWholeRunDeadline(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.WholeRun = config.DurationOf(500 * time.Millisecond)
	})
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.wait(w.startBackup("vm").ID)
	w.sna.Release("copy/0")
	if b.State != record.Failed || b.Failure.Reason != string(agent.DeadlinePassed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
}

// TestImageDamagedBehindTheBack: qemu-img check is asked, and believed.
func TestImageDamagedBehindTheBack(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.failsWhile("disconnect/0", func(b record.Backup) {
		f, err := os.OpenFile(b.Runs[0].Image, os.O_WRONLY, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt(make([]byte, 4096), 0) // the header
		must(t, err)
	}, agent.ImageFailed)
}

// TestSetAside keeps the images of a failed backup where somebody may look at them, and nowhere else.
func TestSetAside(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Agent.FailedImages = config.SetAsideImages })
	w.putVM("vm", 8<<20)
	b := w.failsWhile("copy/0", func(b record.Backup) {
		w.waitFor(b.ID, func(b record.Backup) bool { return !b.SeenAt.IsZero() }) // of what nobody has written to nothing is kept
		kill(t, b.Runs[0].PID)
	}, agent.ExporterFailed)
	kept := filepath.Join(w.config.Repositories[0].Path, ".failed", "vm", b.ID, "vm-disk0.qcow2")
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// TestRestartWhileFinishing: the agent stops while a client lingers, and the next one brings the backup to its end.
func TestRestartWhileFinishing(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 8<<20)
	w.sna.Hold("disconnect/0")
	b := w.startBackup("vm")
	w.waitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	w.stop()
	w.start()
	w.sna.Release("disconnect/0")
	w.completes(b, sources)
}

// TestReports: what SBC may report about disks, and when.
func TestReports(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	_, err := w.agent.CompleteDisk(t.Context(), b.ID, 7, "x")
	wantError(t, err, agent.InvalidRequest, "no disk 7")
	_, err = w.agent.CompleteDisk(t.Context(), "backup-other-1", 0, "x")
	wantError(t, err, agent.BackupNotFound, "backup-other-1")
	for range 2 {
		_, err = w.agent.CompleteDisk(t.Context(), b.ID, 1, "id/1")
		must(t, err)
	}
	_, err = w.agent.CompleteDisk(t.Context(), b.ID, 1, "id/2")
	wantError(t, err, agent.WrongState, "another change id")
	_, err = w.agent.CancelBackup(t.Context(), b.ID)
	must(t, err)
	_, err = w.agent.CompleteDisk(t.Context(), b.ID, 0, "id/1")
	wantError(t, err, agent.WrongState, "cancelled")
	w.sna.Release("copy/0")
}
