package units

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// Ways of a command to start for which systemd finds no main process, or a wrong one: see checkMain. The first process of a daemon ends
// when the last one serves, here when it exists.
var badStarts = map[string]string{
	"two processes without a parent": "sleep 1000 & sleep 1000 & exit 0",
	"the process in the middle lags": `trap "exit 0" USR1; (sleep 1000 & kill -USR1 $$; sleep 0.05; exit 0) & wait`,
}

// A pair whose main process systemd does not find is started again.
func TestMainProcessIsFound(t *testing.T) {
	for name, script := range badStarts {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			s := shell(t, m, "")
			dir := systemdtest.DiskDir(t)
			s.WritableDirs = []string{dir}
			s.Argv = []string{"/bin/sh", "-c", fmt.Sprintf("if mkdir %s; then %s; fi; exec sleep 1000 & exit 0", filepath.Join(dir, "first"), script)}
			u := mustStart(t, m, s)
			time.Sleep(time.Second) // longer than the process in the middle lags
			got, err := m.Get(within(t), s.Name)
			if err != nil || u.MainPID == 0 || got.MainPID != u.MainPID || !got.Running() || got.Ended() || got.SubState != "running" {
				t.Errorf("started %+v, and then %+v, %v", u, got, err)
			}
			if n := strings.Count(journalAbout(t, s.Name), "Starting "); n != 2 {
				t.Errorf("started %d times, want 2", n)
			}
			if u, err := m.Terminate(within(t), s.Name); err != nil || !u.Ended() || u.ExecMainCode == 0 {
				t.Errorf("terminated: %+v, %v", u, err)
			}
		})
	}
}

// A command that always starts so cannot be run.
func TestMainProcessIsNeverFound(t *testing.T) {
	for name, script := range badStarts {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			s := shell(t, m, "")
			s.Argv = []string{"/bin/sh", "-c", script}
			_, err := m.Start(within(t), s)
			var failure *StartError
			if !errors.Is(err, ErrMainUnknown) || !errors.As(err, &failure) || failure.Cleanup != nil {
				t.Errorf("error %v, want %v", err, ErrMainUnknown)
			}
			assertGone(t, m, s.Name)
			if n := strings.Count(journalAbout(t, s.Name), "Starting "); n != startAttempts {
				t.Errorf("started %d times, want %d", n, startAttempts)
			}
		})
	}
}

func journalAbout(t testing.TB, name string) string {
	return run(t, "journalctl", "--sync") + run(t, "journalctl", "-o", "cat", "UNIT="+name+pair.ServiceSuffix)
}

// A pair that runs without a main process has not ended: nothing says so, and it can be terminated. How it ended is not known then, so
// it is not clean.
func TestRunsWithoutMainProcess(t *testing.T) {
	m := open(t)
	s := shell(t, m, "")
	s.Argv = []string{"/bin/sh", "-c", `for i in 1 2; do sh -c '` + sleeper + `' & done; exit 0`}
	events := m.Watch(within(t), s.Name)
	if result, err := m.runStart(within(t), s); err != nil || result != jobDone {
		t.Fatal(result, err)
	}
	u, err := m.Get(within(t), s.Name)
	if err != nil || u.MainPID != 0 || !u.Running() || u.Ended() || u.Clean() {
		t.Errorf("it runs, and reads as %+v, %v", u, err)
	}
	list, err := m.ListBrief(within(t), s.Name)
	if err != nil || len(list) != 1 || !list[0].Running() || list[0].Ended() {
		t.Errorf("it runs, and is listed as %+v, %v", list, err)
	}
	if e := nextOf(t, events, EventStarted); e.Unit.Ended() {
		t.Errorf("event %+v", e)
	}
	if u, err = m.Terminate(within(t), s.Name); err != nil || u.Running() || !u.Ended() || u.Clean() || u.SubState != "exited" {
		t.Errorf("terminated: %+v, %v", u, err)
	}
	for e := range events {
		if e.Kind == EventEnded {
			if e.Unit.Clean() || e.Unit.InvocationID != u.InvocationID {
				t.Errorf("event %+v", e)
			}
			break
		}
	}
}

// Whether a service runs follows from its state alone: each row is a state of systemd's service.c.
func TestRunningFollowsFromState(t *testing.T) {
	for _, test := range []struct {
		u              Unit
		running, ended bool
	}{
		{Unit{SubState: "running"}, true, false}, // systemd does not know the main process
		{Unit{SubState: "running", MainPID: 7}, true, false},
		{Unit{SubState: "start", ActiveState: "activating"}, true, false},
		{Unit{SubState: "start-post", ActiveState: "activating", MainPID: 7}, true, false},
		{Unit{SubState: "stop-sigterm", ActiveState: "deactivating", ExecMainCode: 1}, true, false}, // others of its processes may run
		{Unit{SubState: "final-sigkill", ActiveState: "deactivating", ExecMainCode: 2, ExecMainStatus: 9}, true, false},
		{Unit{SubState: "exited", ExecMainCode: 1}, false, true},
		{Unit{SubState: "exited"}, false, true},
		{Unit{SubState: "failed", Result: "signal", ExecMainCode: 2, ExecMainStatus: 9}, false, true},
		{Unit{SubState: "dead", ExecMainCode: 1}, false, true},
		{Unit{SubState: "dead"}, false, false},
		{Unit{MainPID: 7}, true, false}, // as Start returns it
	} {
		test.u.InvocationID = "00112233445566778899aabbccddeeff"
		if test.u.Running() != test.running || test.u.Ended() != test.ended {
			t.Errorf("%+v: runs %v, has ended %v", test.u, test.u.Running(), test.u.Ended())
		}
	}
}
