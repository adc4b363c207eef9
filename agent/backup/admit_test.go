package backup_test

import (
	"slices"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestQueue: with a limit of one backup, three more are queued and one of them is canceled. The others are served in order.
func TestQueue(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.SNA.Hold("copy/0")
	var ids []string
	for _, vm := range []string{"a", "b", "c", "d"} {
		w.PutVM(vm, 1<<20)
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm, Type: record.Auto, Repository: "main", Queue: true})
		agenttest.Must(t, err)
		want := record.Queued
		if vm == "a" {
			want = record.Running
		}
		if b.State != want {
			t.Errorf("the backup of %s is %s, want %s", vm, b.State, want)
		}
		ids = append(ids, b.ID)
	}
	w.PutVM("e", 1<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "e", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.Busy, "3 backups are queued")
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "b", Type: record.Full, Repository: "main", Queue: true})
	agenttest.WantError(t, err, fault.BackupInProgress, "queued")
	_, err = w.Agent.Backups.Cancel(t.Context(), ids[2])
	agenttest.Must(t, err)
	w.SNA.Release("copy/0")
	var ends []record.Backup
	for _, i := range []int{0, 1, 3} {
		b := w.Wait(ids[i])
		if b.State != record.Completed {
			t.Fatalf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
		}
		ends = append(ends, b)
	}
	if !slices.IsSortedFunc(ends, func(a, b record.Backup) int { return a.CalledAt.Compare(b.CalledAt) }) ||
		ends[1].CalledAt.Before(ends[0].EndedAt) || ends[2].CalledAt.Before(ends[1].EndedAt) {
		t.Errorf("queued backups ran at the same time or out of order: %v", ends)
	}
	if n := w.Posts(ids[2]); n != 0 {
		t.Errorf("the SNA was asked %d times for a backup that was cancelled in the queue", n)
	}
}

// TestQueueAcrossRestart: a queued backup is still queued after a restart, and starts later.
func TestQueueAcrossRestart(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.NBD.FirstPort, c.NBD.LastPort = 10100, 10101 })
	_, sources := w.PutVM("second", 1<<20, 2<<20)
	w.PutVM("first", 1<<20)
	w.SNA.Hold("copy/0")
	first := w.StartBackup("first")
	second, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "second", Type: record.Full, Repository: "main", Queue: true})
	agenttest.Must(t, err)
	if second.State != record.Queued {
		t.Fatalf("the second backup is %s with one port for two disks", second.State)
	}
	w.Stop()
	w.Start()
	w.SNA.Release("copy/0")
	w.Wait(first.ID)
	w.Completes(second, sources)
}

func TestQueueRefuses(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.NBD.FirstPort, c.NBD.LastPort = 10100, 10101
		c.Limits.MaxQueued = 0
	})
	w.PutVM("wide", 1<<20, 1<<20, 1<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "wide", Type: record.Full, Repository: "main", Queue: true})
	agenttest.WantError(t, err, fault.NoFreePort, "3 needed") // it would never fit
	w.PutVM("a", 1<<20, 1<<20)
	w.PutVM("b", 1<<20)
	w.SNA.Hold("copy/0")
	w.StartBackup("a")
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "b", Type: record.Full, Repository: "main", Queue: true})
	agenttest.WantError(t, err, fault.QueueFull, "0 backups are queued")
	w.SNA.Release("copy/0")
}

// TestSafeToAskTwice repeats a request: at once, after the end, and after a restart of the agent.
func TestSafeToAskTwice(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 1<<20)
	w.PutVM("other", 1<<20)
	request := backup.Request{VMName: "vm", Type: record.Auto, Repository: "main", RequestID: "nightly-1"}
	first, err := w.Agent.Backups.Start(t.Context(), request)
	agenttest.Must(t, err)
	again := func() {
		t.Helper()
		b, err := w.Agent.Backups.Start(t.Context(), request)
		agenttest.Must(t, err)
		if b.ID != first.ID {
			t.Errorf("the same request made backup %s, and now %s", first.ID, b.ID)
		}
	}
	again()
	w.Wait(first.ID)
	again()
	w.Stop()
	w.Start()
	again()
	if n := len(w.SNA.State().Posts); n != 1 {
		t.Errorf("the SNA was asked %d times", n)
	}
	request.VMName = "other"
	_, err = w.Agent.Backups.Start(t.Context(), request)
	agenttest.WantError(t, err, fault.InvalidRequest, "nightly-1")
}

// TestFailedStartAskedTwice: the first answer was an error, so the second one is the same error.
func TestFailedStartAskedTwice(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no such vCenter"}))
	request := backup.Request{VMName: "vm", Type: record.Full, Repository: "main", RequestID: "once"}
	_, err := w.Agent.Backups.Start(t.Context(), request)
	first := agenttest.WantError(t, err, fault.SNARefused, "no such vCenter")
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
	_, err = w.Agent.Backups.Start(t.Context(), request)
	if second := agenttest.WantError(t, err, fault.SNARefused, "no such vCenter"); second.BackupID != first.BackupID {
		t.Errorf("the second answer is about %s, the first was about %s", second.BackupID, first.BackupID)
	}
}

func TestReserve(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Space.Reserve = config.SizeOf(1 << 60) })
	w.PutVM("vm", 1<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.NoSpace, "space.reserve")
}

// TestRepositoryFillsUp: SBC gets the error and does not report it, so the agent has to notice.
func TestRepositoryFillsUp(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Space = config.Space{Reserve: config.SizeOf(8 << 20), Floor: config.SizeOf(4 << 20)}
		c.Repositories = append(c.Repositories, config.Repository{ID: "small", Path: c.Agent.StateDirectory + "-small"})
		agenttest.MountTmpfs(t, c.Repositories[1].Path, "size=16m")
	})
	_, sources := w.PutVM("vm", 64<<20)
	for at := int64(0); at < 64<<20; at += 64 << 10 {
		agenttest.Scribble(t, sources[0], at)
	}
	b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "small"})
	agenttest.Must(t, err)
	if b = w.Wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(fault.NoSpace) {
		t.Errorf("backup is %s: %+v", b.State, b.Failure)
	}
}

// TestQueuedDisksChange: a queued backup holds the VM as it is when the backup starts, not as it was at the request.
func TestQueuedDisksChange(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.PutVM("first", 1<<20)
	w.PutVM("second", 1<<20)
	w.SNA.Hold("copy/0")
	w.StartBackup("first")
	second, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "second", Type: record.Full, Repository: "main", Queue: true})
	agenttest.Must(t, err)
	_, sources := w.PutVM("second", 3<<20, 2<<20) // a disk grew, another was added
	w.SNA.Release("copy/0")
	w.Completes(second, sources)
}
