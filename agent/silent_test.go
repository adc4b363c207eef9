package agent_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// silence is the deadline of a client that says nothing new in these tests.
const silence = 3 * time.Second

func silentWorld(t *testing.T, configure ...func(*config.Config, *snatest.Options)) *world {
	return newWorld(t, append(configure, func(c *config.Config, o *snatest.Options) {
		c.Deadlines.FirstReport, c.Deadlines.NextReport = config.DurationOf(silence), config.DurationOf(silence)
		o.SnapshotBeforeAnswer = false
	})...)
}

// failsWith waits for the end of a backup that fails for a reason; all words must be in the failure or its hint.
func (w *world) failsWith(id string, reason agent.Reason, words ...string) record.Backup {
	w.Helper()
	b := w.wait(id)
	if b.State != record.Failed || b.Failure.Reason != string(reason) {
		w.Fatalf("backup is %s, %+v", b.State, b.Failure)
	}
	for _, word := range words {
		if !strings.Contains(b.Failure.Message+"\n"+b.Failure.Hint, word) {
			w.Errorf("%q is not in: %s\n%s", word, b.Failure.Message, b.Failure.Hint)
		}
	}
	w.clean()
	return b
}

// TestClientThatCannotLogIn: the SNA has accepted, and its client tells nobody. It made no snapshot.
func TestClientThatCannotLogIn(t *testing.T) {
	w := silentWorld(t)
	w.putVM("vm", 1<<20)
	must(t, w.sna.SetFaults(snatest.Faults{LoginFails: true}))
	began := time.Now()
	b := w.failsWith(w.startBackup("vm").ID, agent.ClientSilent, "has reported nothing", "wrong vCenter password", "unknown VM path", "first_report")
	if took := time.Since(began); took > silence+10*time.Second {
		t.Errorf("it was noticed only after %s", took)
	}
	if b.SnapshotMayRemain {
		t.Error("a client that never logged in is said to have made a snapshot")
	}
	if b.CooldownUntil.IsZero() {
		t.Error("the VM does not cool down: the client may only be slow")
	}
}

// TestClientThatDoesNotComeToRead: it has made its snapshot, and says no more.
func TestClientThatDoesNotComeToRead(t *testing.T) {
	w := silentWorld(t)
	w.putVM("vm", 1<<20)
	w.sna.Hold("disk/0")
	b := w.startBackup("vm")
	w.eventually("what it said is shown", func() bool {
		p, err := w.agent.Progress(t.Context(), b.ID)
		return err == nil && p.ClientReport == "Creating Snapshot, 15 %"
	})
	b = w.failsWith(b.ID, agent.ClientSilent, "Creating Snapshot, 15 %", "next_report", "sbak-"+b.ID)
	if !b.SnapshotMayRemain {
		t.Error("its snapshot is not said to be left")
	}
	w.sna.Release("disk/0")
}

// TestClientThatIsSlowToBegin: each new word gives it the time anew.
func TestClientThatIsSlowToBegin(t *testing.T) {
	w := silentWorld(t)
	_, sources := w.putVM("vm", 1<<20)
	w.sna.Hold("login")
	w.sna.Hold("disk/0")
	b := w.startBackup("vm")
	for _, point := range []string{"login", "disk/0"} {
		_, err := w.sna.WaitHeld(t.Context(), b.ID, point)
		must(t, err)
		time.Sleep(silence - time.Second) // together it is longer than the deadline
		w.sna.Release(point)
	}
	w.completes(b, sources)
}

// TestVMWhoseSnapshotsAreSlow: what its newest restore point needed counts twice.
func TestVMWhoseSnapshotsAreSlow(t *testing.T) {
	w := silentWorld(t)
	w.stop()
	w.config.Deadlines.FirstReport, w.config.Deadlines.NextReport = config.DurationOf(0), config.DurationOf(0)
	w.start()
	_, sources := w.putVM("vm", 1<<20)
	for range 2 {
		w.sna.Hold("disk/0")
		b := w.startBackup("vm")
		time.Sleep(silence + 2*time.Second) // past the deadline
		w.sna.Release("disk/0")
		w.completes(b, sources)
		w.stop()
		w.config.Deadlines.FirstReport, w.config.Deadlines.NextReport = config.DurationOf(silence), config.DurationOf(silence)
		w.start()
	}
}

// TestSNAThatDoesNotTellOfProgress: an older SNA without the call, or one that does not answer it, proves nothing of the client.
func TestSNAThatDoesNotTellOfProgress(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"no such call": http.NotFound,
		"unreadable":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no answer":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"in trouble":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "job not found", 500) },
	} {
		t.Run(name, func(t *testing.T) {
			w := silentWorld(t, func(c *config.Config, _ *snatest.Options) {
				c.Deadlines.FirstConnection = config.DurationOf(3 * silence)
			})
			w.withoutProgress(answer)
			w.putVM("vm", 1<<20)
			must(t, w.sna.SetFaults(snatest.Faults{LoginFails: true}))
			w.failsWith(w.startBackup("vm").ID, agent.DeadlinePassed, "deadlines.first_connection")
		})
	}
}

// withoutProgress puts something before the SNA that answers its call for the progress of a job otherwise.
func (w *world) withoutProgress(answer http.HandlerFunc) {
	target, err := url.Parse(w.sna.URL)
	must(w.TB, err)
	pass := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/progress/") {
			answer(rw, r)
			return
		}
		pass.ServeHTTP(rw, r)
	}))
	w.Cleanup(proxy.Close)
	w.stop()
	w.config.SNA.URL = proxy.URL
	w.start()
}

// TestLostAnswerAndProgress: that the SNA knows the job is evidence that the request arrived; that it does not is none, before the
// deadline of the first connection.
func TestLostAnswerAndProgress(t *testing.T) {
	w := silentWorld(t)
	_, sources := w.putVM("vm", 1<<20)
	w.sna.Hold("login")
	w.sna.Hold("disk/0")
	must(t, w.sna.SetFaults(snatest.Faults{Answer: snatest.AnswerReset}))
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	id := wantError(t, err, agent.SNAOutcomeUnknown, "").BackupID
	time.Sleep(silence + 2*time.Second) // the SNA says that it knows nothing of the job
	if b, err := w.agent.Backup(id); err != nil || b.State != record.Unresolved {
		t.Fatalf("backup is %s, %+v, %v", b.State, b.Failure, err)
	}
	w.sna.Release("login")
	b := w.waitFor(id, func(b record.Backup) bool { return b.State == record.Running })
	if !b.SeenAt.IsZero() || b.AcceptedAt.IsZero() {
		t.Errorf("seen %s, accepted %s", b.SeenAt, b.AcceptedAt)
	}
	w.sna.Release("disk/0")
	w.completes(b, sources)
	if n := w.posts(id); n != 1 {
		t.Errorf("the SNA was asked %d times", n)
	}
}

// TestClientThatReportsAfterTheEnd: a client that still sends something keeps its VM from the next one.
func TestClientThatReportsAfterTheEnd(t *testing.T) {
	const cooldown = 8 * time.Second
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(cooldown) })
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "copy/0")
	must(t, err)
	b, err = w.agent.CancelBackup(t.Context(), b.ID)
	must(t, err)
	w.sna.Release("copy/0")
	first := b.CooldownUntil
	for range 2 { // also by an agent that was not there when it began
		time.Sleep(cooldown/4 + time.Second)
		_ = w.agent.Telemetry(b.ID, agent.Telemetry{Status: "running"})
		now, err := w.agent.Backup(b.ID)
		must(t, err)
		if put := now.CooldownUntil.Sub(b.CooldownUntil); put < cooldown/4 {
			t.Fatalf("the cool-down was put off by %s", put)
		}
		b = now
		w.stop()
		w.start()
	}
	time.Sleep(time.Until(first) + 500*time.Millisecond)
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.CoolingDown, b.CooldownUntil.UTC().Format(time.RFC3339)[:16])
	time.Sleep(time.Until(b.CooldownUntil) + 500*time.Millisecond)
	_ = w.agent.Telemetry(b.ID, agent.Telemetry{Status: "running"})
	if now, err := w.agent.Backup(b.ID); err != nil || !now.CooldownUntil.Equal(b.CooldownUntil) {
		t.Errorf("a cool-down that is over was put off to %s, %v", now.CooldownUntil, err)
	}
}
