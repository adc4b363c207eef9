package main_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

const diskSize = 8 << 20

// A daemon that is killed leaves its socket's file, its exports and the copy. The next one takes all of it up.
func TestKilledInMidCopy(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize, diskSize, diskSize)
	id := h.held("pgtest1", "copy/1")
	waiting := start(t, program("sendensectl"), "backup", "wait", id)
	h.eventually("sendensectl watches", func() bool { return strings.Contains(waiting.stderr(), ": running") })
	if code := h.daemon.end(syscall.SIGKILL); code != -1 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(rpc.DefaultSocket); err != nil {
		t.Errorf("a killed daemon leaves its socket's file: %v", err)
	}
	if code, _, stderr := h.ctl("status"); code != 3 || !strings.Contains(stderr, "nothing listens on the socket") {
		t.Errorf("without a daemon: %d %s", code, stderr)
	}
	if n := len(exporters(t)); n == 0 {
		t.Error("the exports went with the daemon")
	}
	h.boot()
	h.release("copy/1")
	h.completes(id, sources)
	code, exited := waiting.exited(patient)
	if !exited || code != 0 || !strings.Contains(waiting.stdout(), "completed") || !strings.Contains(waiting.stderr(), "the agent is back") {
		t.Errorf("sendensectl backup wait: %v %d %s\n%s", exited, code, waiting.stderr(), waiting.stdout())
	}
}

// A daemon that is killed while it waits for the SNA's answer: the next one does not ask again, and shows that the outcome of
// a call is not known.
func TestKilledWhileTheSNAIsAsked(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	h.control("fault", nil, map[string][]string{"faults": {"answer=hang", "inert"}})
	_ = start(t, program("sendensectl"), "backup", "start", "pgtest1", "--type", "full")
	h.eventually("the SNA is asked", func() bool {
		var state snatest.State
		must(t, h.get("state", nil, &state))
		return len(state.Posts) == 1
	})
	h.daemon.end(syscall.SIGKILL)
	h.boot()
	_, text := fetch(t, "/metrics")
	for _, want := range []string{`sendense_agent_sna_calls_total{outcome="unknown"} 1`, `sendense_backup_active{state="unresolved"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	var state snatest.State
	if must(t, h.get("state", nil, &state)); len(state.Posts) != 1 {
		t.Errorf("the SNA was asked %d times", len(state.Posts))
	}
}

func TestTerminatedInMidCopy(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize, diskSize)
	id := h.held("pgtest1", "copy/0")
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, h.daemon.stderr())
	}
	if got := len(exporters(t)); got == 0 {
		t.Error("the exports went with the daemon")
	}
	h.boot()
	b, err := h.dial().GetBackup(t.Context(), id)
	must(t, err)
	if b.State != rpc.Running || b.Progress == nil || len(b.Progress.Disks) != 2 {
		t.Errorf("after the restart: %s, progress %+v", b.State, b.Progress)
	}
	h.release("copy/0")
	h.completes(id, sources)
}

func TestSecondDaemonIsRefused(t *testing.T) {
	h := newHub(t)
	second := start(t, program("sendense-agent"), "--config", h.config)
	code, exited := second.exited(patient)
	if !exited || code != 1 || !strings.Contains(second.stderr(), "sendense-agent: ") || !strings.Contains(second.stderr(), "agent.db: locked by sendense-agent") {
		t.Errorf("exited %v, code %d: %s", exited, code, second.stderr())
	}
	if code, _, stderr := h.ctl("status"); code != 0 {
		t.Errorf("the first daemon: %d %s", code, stderr)
	}
}
