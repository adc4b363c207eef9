package publish_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestKilledJustBeforeTheEnd: everything is copied and reported, and then an exporter is killed. The data that it held back is
// lost, so there is no restore point.
func TestKilledJustBeforeTheEnd(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20, 8<<20)
	w.FailsWhile("disconnect/1", func(b record.Backup) { agenttest.Kill(t, b.Runs[0].PID) }, fault.ExporterFailed)
}

// TestClientLingers: SBC has reported everything and stays connected past the deadline. It may still write, so there is no restore
// point.
func TestClientLingers(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.Disconnect = config.DurationOf(300 * time.Millisecond)
	})
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("disconnect/0")
	b := w.Wait(w.StartBackup("vm").ID)
	w.SNA.Release("disconnect/0")
	if b.State != record.Failed || b.Failure.Reason != string(fault.DeadlinePassed) || b.Failure.DiskID == nil {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
	w.Clean()
}

// TestClientComesLate: a client that disconnects late, but before the deadline, does no harm.
func TestClientComesLate(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 8<<20)
	w.SNA.Hold("disconnect/0")
	b := w.StartBackup("vm")
	w.WaitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	w.SNA.Release("disconnect/0")
	w.Completes(b, sources)
}

// TestDiskNeverReported: a backup that receives nothing more and has a disk that is not reported fails at deadlines.no_progress.
func TestDiskNeverReported(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.NoProgress = config.DurationOf(time.Second)
	})
	w.PutVM("vm", 1<<20, 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{SilentDisks: []int{1}}))
	b := w.Wait(w.StartBackup("vm").ID)
	if b.State != record.Failed || b.Failure.Reason != string(fault.DeadlinePassed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
}

// TestWholeRunDeadline: a backup that takes too long fails, although it makes progress.
func TestWholeRunDeadline(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.WholeRun = config.DurationOf(500 * time.Millisecond)
	})
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.Wait(w.StartBackup("vm").ID)
	w.SNA.Release("copy/0")
	if b.State != record.Failed || b.Failure.Reason != string(fault.DeadlinePassed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
}

// TestImageDamagedBehindTheBack: the result of qemu-img check decides.
func TestImageDamagedBehindTheBack(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.FailsWhile("disconnect/0", func(b record.Backup) {
		f, err := os.OpenFile(b.Runs[0].Image, os.O_WRONLY, 0)
		agenttest.Must(t, err)
		defer f.Close()
		_, err = f.WriteAt(make([]byte, 4096), 0) // the header
		agenttest.Must(t, err)
	}, fault.ImageFailed)
}

// TestSetAside keeps the images of a failed backup in the directory for them, and nowhere else.
func TestSetAside(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Agent.FailedImages = config.SetAsideImages })
	w.PutVM("vm", 8<<20)
	b := w.FailsWhile("copy/0", func(b record.Backup) {
		w.WaitFor(b.ID, func(b record.Backup) bool { return !b.SeenAt.IsZero() }) // images without written data are not kept
		agenttest.Kill(t, b.Runs[0].PID)
	}, fault.ExporterFailed)
	kept := filepath.Join(w.Config.Repositories[0].Path, ".failed", "vm", b.ID, "vm-disk0.qcow2")
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// TestRestartWhileFinishing: the agent stops while a client is still connected, and the next agent completes the backup.
func TestRestartWhileFinishing(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 8<<20)
	w.SNA.Hold("disconnect/0")
	b := w.StartBackup("vm")
	w.WaitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	w.Stop()
	w.Start()
	w.SNA.Release("disconnect/0")
	w.Completes(b, sources)
}

// TestReports: what SBC may report about disks, and when.
func TestReports(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	_, err := w.Agent.Clients.Complete(t.Context(), b.ID, 7, "x")
	agenttest.WantError(t, err, fault.InvalidRequest, "no disk 7")
	_, err = w.Agent.Clients.Complete(t.Context(), "backup-other-1", 0, "x")
	agenttest.WantError(t, err, fault.BackupNotFound, "backup-other-1")
	for range 2 {
		_, err = w.Agent.Clients.Complete(t.Context(), b.ID, 1, "id/1")
		agenttest.Must(t, err)
	}
	_, err = w.Agent.Clients.Complete(t.Context(), b.ID, 1, "id/2")
	agenttest.WantError(t, err, fault.WrongState, "another change id")
	_, err = w.Agent.Backups.Cancel(t.Context(), b.ID)
	agenttest.Must(t, err)
	_, err = w.Agent.Clients.Complete(t.Context(), b.ID, 0, "id/1")
	agenttest.WantError(t, err, fault.WrongState, "cancelled")
	w.SNA.Release("copy/0")
}
