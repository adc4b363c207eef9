package agent_test

import (
	"slices"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestQueue fills the one place there is, queues three more, cancels one of them, and looks that the others are served in
// order.
func TestQueue(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.sna.Hold("copy/0")
	var ids []string
	for _, vm := range []string{"a", "b", "c", "d"} {
		w.putVM(vm, 1<<20)
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm, Type: record.Auto, Repository: "main", Queue: true})
		must(t, err)
		want := record.Queued
		if vm == "a" {
			want = record.Running
		}
		if b.State != want {
			t.Errorf("the backup of %s is %s, want %s", vm, b.State, want)
		}
		ids = append(ids, b.ID)
	}
	w.putVM("e", 1<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "e", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.Busy, "3 backups wait")
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "b", Type: record.Full, Repository: "main", Queue: true})
	wantError(t, err, agent.BackupInProgress, "queued")
	_, err = w.agent.CancelBackup(t.Context(), ids[2])
	must(t, err)
	w.sna.Release("copy/0")
	var ends []record.Backup
	for _, i := range []int{0, 1, 3} {
		b := w.wait(ids[i])
		if b.State != record.Completed {
			t.Fatalf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
		}
		ends = append(ends, b)
	}
	if !slices.IsSortedFunc(ends, func(a, b record.Backup) int { return a.CalledAt.Compare(b.CalledAt) }) ||
		ends[1].CalledAt.Before(ends[0].EndedAt) || ends[2].CalledAt.Before(ends[1].EndedAt) {
		t.Errorf("queued backups ran at the same time or out of order: %v", ends)
	}
	if n := w.posts(ids[2]); n != 0 {
		t.Errorf("the SNA was asked %d times for a backup that was cancelled in the queue", n)
	}
}

// TestQueueAcrossRestart: what waits for its turn still waits after a restart, and gets it.
func TestQueueAcrossRestart(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.NBD.FirstPort, c.NBD.LastPort = 10100, 10101 })
	_, sources := w.putVM("second", 1<<20, 2<<20)
	w.putVM("first", 1<<20)
	w.sna.Hold("copy/0")
	first := w.startBackup("first")
	second, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "second", Type: record.Full, Repository: "main", Queue: true})
	must(t, err)
	if second.State != record.Queued {
		t.Fatalf("the second backup is %s with one port for two disks", second.State)
	}
	w.stop()
	w.start()
	w.sna.Release("copy/0")
	w.wait(first.ID)
	w.completes(second, sources)
}

func TestQueueRefuses(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.NBD.FirstPort, c.NBD.LastPort = 10100, 10101
		c.Limits.MaxQueued = 0
	})
	w.putVM("wide", 1<<20, 1<<20, 1<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "wide", Type: record.Full, Repository: "main", Queue: true})
	wantError(t, err, agent.NoFreePort, "3 needed") // it would wait for ever
	w.putVM("a", 1<<20, 1<<20)
	w.putVM("b", 1<<20)
	w.sna.Hold("copy/0")
	w.startBackup("a")
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "b", Type: record.Full, Repository: "main", Queue: true})
	wantError(t, err, agent.QueueFull, "0 backups wait")
	w.sna.Release("copy/0")
}

// TestSafeToAskTwice repeats a request: at once, after the end, and after a restart of the agent.
func TestSafeToAskTwice(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 1<<20)
	w.putVM("other", 1<<20)
	request := agent.StartRequest{VMName: "vm", Type: record.Auto, Repository: "main", RequestID: "nightly-1"}
	first, err := w.agent.StartBackup(t.Context(), request)
	must(t, err)
	again := func() {
		t.Helper()
		b, err := w.agent.StartBackup(t.Context(), request)
		must(t, err)
		if b.ID != first.ID {
			t.Errorf("the same request made backup %s, and now %s", first.ID, b.ID)
		}
	}
	again()
	w.wait(first.ID)
	again()
	w.stop()
	w.start()
	again()
	if n := len(w.sna.State().Posts); n != 1 {
		t.Errorf("the SNA was asked %d times", n)
	}
	request.VMName = "other"
	_, err = w.agent.StartBackup(t.Context(), request)
	wantError(t, err, agent.InvalidRequest, "nightly-1")
}

// TestFailedStartAskedTwice: the first answer was an error, so the second one is the same.
func TestFailedStartAskedTwice(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 1<<20)
	must(t, w.sna.SetFaults(snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no such vCenter"}))
	request := agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main", RequestID: "once"}
	_, err := w.agent.StartBackup(t.Context(), request)
	first := wantError(t, err, agent.SNARefused, "no such vCenter")
	must(t, w.sna.SetFaults(snatest.Faults{}))
	_, err = w.agent.StartBackup(t.Context(), request)
	if second := wantError(t, err, agent.SNARefused, "no such vCenter"); second.BackupID != first.BackupID {
		t.Errorf("the second answer is about %s, the first was about %s", second.BackupID, first.BackupID)
	}
}

func TestReserve(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Space.Reserve = config.SizeOf(1 << 60) })
	w.putVM("vm", 1<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.NoSpace, "space.reserve")
}

// TestRepositoryFillsUp: SBC hears of it and says nothing, so the agent has to notice.
func TestRepositoryFillsUp(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Space = config.Space{Reserve: config.SizeOf(8 << 20), Floor: config.SizeOf(4 << 20)}
		c.Repositories = append(c.Repositories, config.Repository{ID: "small", Path: c.Agent.StateDirectory + "-small"})
		mountTmpfs(t, c.Repositories[1].Path, "size=16m")
	})
	_, sources := w.putVM("vm", 64<<20)
	for at := int64(0); at < 64<<20; at += 64 << 10 {
		scribble(t, sources[0], at)
	}
	b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "small"})
	must(t, err)
	if b = w.wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(agent.NoSpace) {
		t.Errorf("backup is %s: %+v", b.State, b.Failure)
	}
}

// TestQueuedDisksChange: what is backed up is the VM as it is when its turn has come, not as it was when it was asked for.
func TestQueuedDisksChange(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.putVM("first", 1<<20)
	w.putVM("second", 1<<20)
	w.sna.Hold("copy/0")
	w.startBackup("first")
	second, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "second", Type: record.Full, Repository: "main", Queue: true})
	must(t, err)
	_, sources := w.putVM("second", 3<<20, 2<<20) // a disk grew, another was added
	w.sna.Release("copy/0")
	w.completes(second, sources)
}
