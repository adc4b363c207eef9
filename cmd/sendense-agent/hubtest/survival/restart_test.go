package survival_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// A daemon that is killed leaves its socket's file, its exports and the copy. The next one takes all of it up.
func TestKilledInMidCopy(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize, hubtest.DiskSize)
	id := h.Held("pgtest1", "copy/1")
	waiting := hubtest.Start(t, hubtest.Program("sendensectl"), "backup", "wait", id)
	h.Eventually("sendensectl watches", func() bool { return strings.Contains(waiting.Stderr(), ": running") })
	if code := h.Daemon.End(syscall.SIGKILL); code != -1 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(rpc.DefaultSocket); err != nil {
		t.Errorf("a killed daemon leaves its socket's file: %v", err)
	}
	if code, _, stderr := h.CTL("status"); code != 3 || !strings.Contains(stderr, "nothing listens on the socket") {
		t.Errorf("without a daemon: %d %s", code, stderr)
	}
	if n := len(hubtest.Exporters(t)); n == 0 {
		t.Error("the exports went with the daemon")
	}
	h.Boot()
	h.Release("copy/1")
	h.Completes(id, sources)
	code, exited := waiting.Exited(hubtest.Patience)
	if !exited || code != 0 || !strings.Contains(waiting.Stdout(), "completed") || !strings.Contains(waiting.Stderr(), "the agent is back") {
		t.Errorf("sendensectl backup wait: %v %d %s\n%s", exited, code, waiting.Stderr(), waiting.Stdout())
	}
}

// A daemon that is killed while it waits for the SNA's answer: the next one does not ask again, and shows that the outcome of
// a call is not known.
func TestKilledWhileTheSNAIsAsked(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.Control("fault", nil, map[string][]string{"faults": {"answer=hang", "inert"}})
	_ = hubtest.Start(t, hubtest.Program("sendensectl"), "backup", "start", "pgtest1", "--type", "full")
	h.Eventually("the SNA is asked", func() bool {
		var state snatest.State
		hubtest.Must(t, h.Get("state", nil, &state))
		return len(state.Posts) == 1
	})
	h.Daemon.End(syscall.SIGKILL)
	h.Boot()
	_, text := hubtest.Fetch(t, "/metrics")
	for _, want := range []string{`sendense_agent_sna_calls_total{outcome="unknown"} 1`, `sendense_backup_active{state="unresolved"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	var state snatest.State
	if hubtest.Must(t, h.Get("state", nil, &state)); len(state.Posts) != 1 {
		t.Errorf("the SNA was asked %d times", len(state.Posts))
	}
}

func TestTerminatedInMidCopy(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	id := h.Held("pgtest1", "copy/0")
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, h.Daemon.Stderr())
	}
	if got := len(hubtest.Exporters(t)); got == 0 {
		t.Error("the exports went with the daemon")
	}
	h.Boot()
	b, err := h.Dial().GetBackup(t.Context(), id)
	hubtest.Must(t, err)
	if b.State != rpc.Running || b.Progress == nil || len(b.Progress.Disks) != 2 {
		t.Errorf("after the restart: %s, progress %+v", b.State, b.Progress)
	}
	h.Release("copy/0")
	h.Completes(id, sources)
}

func TestSecondDaemonIsRefused(t *testing.T) {
	h := hubtest.New(t)
	second := hubtest.Start(t, hubtest.Program("sendense-agent"), "--config", h.Config)
	code, exited := second.Exited(hubtest.Patience)
	if !exited || code != 1 || !strings.Contains(second.Stderr(), "sendense-agent: ") || !strings.Contains(second.Stderr(), "agent.db: locked by sendense-agent") {
		t.Errorf("exited %v, code %d: %s", exited, code, second.Stderr())
	}
	if code, _, stderr := h.CTL("status"); code != 0 {
		t.Errorf("the first daemon: %d %s", code, stderr)
	}
}
