package presencetest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// silence is the deadline for a client that reports nothing new in these tests.
const silence = 8 * time.Second

func silentWorld(t *testing.T, deadline time.Duration, configure ...func(*config.Config, *snatest.Options)) *agenttest.World {
	return agenttest.New(t, append(configure, func(c *config.Config, o *snatest.Options) {
		c.Deadlines.FirstReport, c.Deadlines.NextReport = config.DurationOf(deadline), config.DurationOf(deadline)
		o.SnapshotBeforeAnswer = false
	})...)
}

// TestClientThatCannotLogIn: the SNA has accepted the request, and its client reports nothing. It made no snapshot.
func TestClientThatCannotLogIn(t *testing.T) {
	t.Parallel()
	w := silentWorld(t, silence)
	w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{LoginFails: true}))
	began := time.Now()
	b := w.FailsWith(w.StartBackup("vm").ID, fault.ClientSilent, "has reported nothing", "wrong vCenter password", "unknown VM path", "first_report")
	if took := time.Since(began); took > silence+time.Minute {
		t.Errorf("it was noticed only after %s", took)
	}
	if b.SnapshotMayRemain {
		t.Error("a client that never logged in is said to have made a snapshot")
	}
	if b.CooldownUntil.IsZero() {
		t.Error("the VM does not cool down: the client may only be slow")
	}
}

// TestClientThatDoesNotComeToRead: the client has made its snapshot, and reports nothing after that.
func TestClientThatDoesNotComeToRead(t *testing.T) {
	t.Parallel()
	w := silentWorld(t, silence)
	w.PutVM("vm", 1<<20)
	w.SNA.Hold("disk/0")
	b := w.StartBackup("vm")
	w.Eventually("what it said is shown", func() bool {
		p, err := w.Agent.Backups.Progress(t.Context(), b.ID)
		return err == nil && p.ClientReport == "Creating Snapshot, 15 %"
	})
	b = w.FailsWith(b.ID, fault.ClientSilent, "Creating Snapshot, 15 %", "next_report", "sbak-"+b.ID)
	if !b.SnapshotMayRemain {
		t.Error("its snapshot is not said to be left")
	}
	w.SNA.Release("disk/0")
}

// TestSnapshotRefused: the client reported that it makes a snapshot, and ended.
func TestSnapshotRefused(t *testing.T) {
	t.Parallel()
	w := silentWorld(t, silence)
	w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{QuiesceFails: true}))
	b := w.FailsWith(w.StartBackup("vm").ID, fault.ClientSilent, "Creating Snapshot, 10 %", "refused the quiesced snapshot", "next_report")
	if !b.SnapshotMayRemain {
		t.Error("a client that was at its snapshot may have left one")
	}
}

// TestSnapshotThatCannotBeRead: the client made a snapshot and left it.
func TestSnapshotThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := silentWorld(t, silence)
	w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{NbdkitFails: true}))
	b := w.FailsWith(w.StartBackup("vm").ID, fault.ClientSilent, "Creating Snapshot, 15 %", "nbdkit")
	if !b.SnapshotMayRemain || len(w.SNA.State().Snapshots) != 1 {
		t.Errorf("marked: %v, snapshots %+v", b.SnapshotMayRemain, w.SNA.State().Snapshots)
	}
}

// TestClientThatIsSlowToBegin: each new report starts the deadline again.
func TestClientThatIsSlowToBegin(t *testing.T) {
	t.Parallel()
	untilPunctual(t, silence, func(deadline time.Duration) (*agenttest.World, *slowClient) {
		w := silentWorld(t, deadline)
		return w, pausesAt(w, []string{"login", "disk/0"}, func(func()) {
			time.Sleep(deadline/2 + time.Second) // the sum is longer than the deadline
		}, 1<<20)
	})
}

// TestVMWhoseSnapshotsAreSlow: the client may take twice the time that the newest restore point needed.
func TestVMWhoseSnapshotsAreSlow(t *testing.T) {
	t.Parallel()
	w := silentWorld(t, silence)
	w.Stop()
	w.Config.Deadlines.FirstReport, w.Config.Deadlines.NextReport = config.DurationOf(0), config.DurationOf(0)
	w.Start()
	_, sources := w.PutVM("vm", 1<<20)
	for _, pause := range []time.Duration{2 * silence, silence + 2*time.Second} { // both past the deadline
		w.SNA.Hold("disk/0")
		b := w.StartBackup("vm")
		time.Sleep(pause)
		w.SNA.Release("disk/0")
		w.Completes(b, sources)
		w.Stop()
		w.Config.Deadlines.FirstReport, w.Config.Deadlines.NextReport = config.DurationOf(silence), config.DurationOf(silence)
		w.Start()
	}
}

// TestSNAThatDoesNotTellOfProgress: an older SNA without the call, or one that does not answer it, proves nothing about the client.
func TestSNAThatDoesNotTellOfProgress(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no such call": http.NotFound,
		"unreadable":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no answer":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"in trouble":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "job not found", 500) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := silentWorld(t, silence, func(c *config.Config, _ *snatest.Options) {
				c.Deadlines.FirstConnection = config.DurationOf(3 * silence)
			})
			w.WithoutProgress(answer)
			w.PutVM("vm", 1<<20)
			agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{LoginFails: true}))
			w.FailsWith(w.StartBackup("vm").ID, fault.DeadlinePassed, "deadlines.first_connection")
		})
	}
}

// TestLostAnswerAndProgress: if the SNA knows the job, the request arrived. If it does not, that proves nothing before the deadline
// of the first connection.
func TestLostAnswerAndProgress(t *testing.T) {
	t.Parallel()
	w := silentWorld(t, silence)
	_, sources := w.PutVM("vm", 1<<20)
	w.SNA.Hold("login")
	w.SNA.Hold("disk/0")
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{Answer: snatest.AnswerReset}))
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	id := agenttest.WantError(t, err, fault.SNAOutcomeUnknown, "").BackupID
	time.Sleep(silence + 2*time.Second) // the SNA says that it knows nothing of the job
	if b, err := w.Agent.Records.Backup(id); err != nil || b.State != record.Unresolved {
		t.Fatalf("backup is %s, %+v, %v", b.State, b.Failure, err)
	}
	w.SNA.Release("login")
	b := w.WaitFor(id, func(b record.Backup) bool { return b.State == record.Running })
	if !b.SeenAt.IsZero() || b.AcceptedAt.IsZero() {
		t.Errorf("seen %s, accepted %s", b.SeenAt, b.AcceptedAt)
	}
	w.SNA.Release("disk/0")
	w.Completes(b, sources)
	if n := w.Posts(id); n != 1 {
		t.Errorf("the SNA was asked %d times", n)
	}
}

// TestClientThatReportsAfterTheEnd: while a client still sends something, no new backup of its VM starts.
func TestClientThatReportsAfterTheEnd(t *testing.T) {
	t.Parallel()
	const cooldown = 20 * time.Second
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(cooldown) })
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "copy/0")
	agenttest.Must(t, err)
	b, err = w.Agent.Backups.Cancel(t.Context(), b.ID)
	agenttest.Must(t, err)
	w.SNA.Release("copy/0")
	first := b.CooldownUntil
	for range 2 { // also with an agent that started later
		time.Sleep(cooldown/4 + time.Second)
		_ = w.Agent.Clients.Telemetry(b.ID, record.Telemetry{Status: "running"})
		now, err := w.Agent.Records.Backup(b.ID)
		agenttest.Must(t, err)
		if put := now.CooldownUntil.Sub(b.CooldownUntil); put < cooldown/4 {
			t.Fatalf("the cool-down was put off by %s", put)
		}
		b = now
		w.Stop()
		w.Start()
	}
	time.Sleep(time.Until(first) + 500*time.Millisecond)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.CoolingDown, b.CooldownUntil.UTC().Format(time.RFC3339)[:16])
	time.Sleep(time.Until(b.CooldownUntil) + 500*time.Millisecond)
	_ = w.Agent.Clients.Telemetry(b.ID, record.Telemetry{Status: "running"})
	if now, err := w.Agent.Records.Backup(b.ID); err != nil || !now.CooldownUntil.Equal(b.CooldownUntil) {
		t.Errorf("a cool-down that is over was put off to %s, %v", now.CooldownUntil, err)
	}
}
