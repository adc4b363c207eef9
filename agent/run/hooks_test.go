package run_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/hook"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// A desk is where the commands of hooks report: each sends what it got on standard input, and ends with the status that it is told. They
// are real ones, in their sandbox.
type desk struct {
	listener net.Listener
	answer   func(e hook.Event) int // status; it may take its time

	mu     sync.Mutex
	events []hook.Event
}

func newDesk(t *testing.T, answer func(e hook.Event) int) *desk {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	agenttest.Must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	d := &desk{listener: l, answer: answer}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c)
		}
	}()
	return d
}

func (d *desk) serve(c net.Conn) {
	defer c.Close()
	var e hook.Event
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &e) != nil {
		return
	}
	d.mu.Lock()
	d.events = append(d.events, e)
	d.mu.Unlock()
	_, _ = fmt.Fprintln(c, d.answer(e))
}

// seen are the events so far, each as "hook of VM".
func (d *desk) seen() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		list = append(list, strings.TrimSpace(e.Hook+" "+e.VMName))
	}
	return list
}

// of returns the last event of a hook.
func (d *desk) of(id string) hook.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range slices.Backward(d.events) {
		if e.Hook == id {
			return e
		}
	}
	return hook.Event{}
}

// command reports to the desk.
func (d *desk) command() []string {
	_, port, _ := net.SplitHostPort(d.listener.Addr().String())
	return []string{"/bin/bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/"$0" && cat >&3 && read -r status <&3 && echo "it ends with $status" && exit "$status"`, port}
}

// everywhere has a hook at each point, named as it.
func (d *desk) everywhere(change func(h *config.Hook)) (list []config.Hook) {
	for _, when := range []string{config.BeforeRun, config.AfterRun, config.BeforeVM, config.AfterVM} {
		h := config.Hook{ID: when, When: when, Command: d.command(), TimeLimit: config.DurationOf(5 * time.Minute)}
		change(&h)
		list = append(list, h)
	}
	return list
}

// hooked is a world whose nightly schedule has hooks. Two VMs, a and b, are backed up one after the other.
func hooked(t *testing.T, list []config.Hook) *agenttest.World {
	t.Helper()
	set := nightly(func(s *config.Schedule) { s.Parallel, s.Order = 1, config.ByName })
	w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
		set(c, o)
		c.Hooks = list
		agenttest.Must(t, c.Validate())
	})
	w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	return w
}

// TestHooks: the hooks of a run and of its VMs run at their points, with what they are about. Those of other schedules and other VMs do not.
func TestHooks(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(hook.Event) int { return 0 })
	list := d.everywhere(func(h *config.Hook) {
		if h.When == config.AfterVM {
			h.VMs = []string{"b*"}
		}
	})
	other := config.Hook{ID: "other", When: config.BeforeRun, Schedules: []string{"weekly"}, Command: d.command()}
	set := nightly(func(s *config.Schedule) { s.Parallel, s.Order = 1, config.ByName })
	w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
		set(c, o)
		weekly := c.Schedules[0]
		weekly.ID = "weekly"
		c.Schedules, c.Hooks = append(c.Schedules, weekly), append(list, other)
		agenttest.Must(t, c.Validate())
	})
	w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	id := start(w)
	run, vms := ran(w, id)
	if run.State != record.RunCompleted || len(run.Warnings) != 0 {
		t.Fatalf("%+v", run)
	}
	if got, want := d.seen(), []string{"before_run", "before_vm a", "before_vm b", "after_vm b", "after_run"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	want := hook.Event{Hook: "before_run", When: "before_run", ScheduleID: "nightly", RunID: id}
	if got := d.of("before_run"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	want = hook.Event{
		Hook: "after_vm", When: "after_vm", ScheduleID: "nightly", RunID: id, VMName: "b", Try: 1, BackupType: "auto",
		BackupID: vms["b"].Tries[0].BackupID, State: "completed",
	}
	if got := d.of("after_vm"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := d.of("after_run"); got.State != "completed" || got.Counts == nil || *got.Counts != (hook.Counts{Completed: 2}) {
		t.Errorf("%+v", got)
	}
}

// TestHooksFail: what the failure of a hook does, at each point, with each policy.
func TestHooksFail(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		when     string
		policy   string
		times    int // how often it fails
		state    record.RunState
		counts   record.Counts
		why      string // of the run
		warnings []string
		tries    int // of VM a
	}{
		"before_run fails": {when: config.BeforeRun, times: 1, state: record.RunFailed, why: "hook before_run (before_run): unit sendense-hook-"},
		"before_run warns": {
			when: config.BeforeRun, policy: config.ContinueOnFailure, times: 1, state: record.RunCompleted, counts: record.Counts{Completed: 2},
			warnings: []string{"hook before_run (before_run): "}, tries: 1,
		},
		"before_vm fails once": {when: config.BeforeVM, times: 1, state: record.RunCompleted, counts: record.Counts{Completed: 2}, tries: 2},
		"before_vm warns": {
			when: config.BeforeVM, policy: config.ContinueOnFailure, times: 1, state: record.RunCompleted, counts: record.Counts{Completed: 2},
			warnings: []string{"hook before_vm (before_vm) of VM a: "}, tries: 1,
		},
		"before_vm fails": {when: config.BeforeVM, times: 100, state: record.RunFailed, counts: record.Counts{Failed: 2}, tries: 3},
		"after_vm fails":  {when: config.AfterVM, times: 1, state: record.RunPartial, counts: record.Counts{Completed: 1, Failed: 1}, tries: 1},
		"after_run fails": {when: config.AfterRun, times: 1, state: record.RunFailed, counts: record.Counts{Completed: 2}, why: "hook after_run (after_run): ", tries: 1},
		"after_run warns": {when: config.AfterRun, policy: config.ContinueOnFailure, times: 1, state: record.RunCompleted, counts: record.Counts{Completed: 2}, warnings: []string{"hook after_run (after_run): "}, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			failures := 0
			d := newDesk(t, func(e hook.Event) int {
				mu.Lock()
				defer mu.Unlock()
				if e.When == tt.when && failures < tt.times {
					failures++
					return 3
				}
				return 0
			})
			w := hooked(t, d.everywhere(func(h *config.Hook) { h.OnFailure = tt.policy }))
			run, vms := ran(w, start(w))
			if run.State != tt.state || run.Counts != tt.counts || !strings.HasPrefix(run.Why, tt.why) || (tt.why == "") != (run.Why == "") {
				t.Errorf("%+v", run)
			}
			if len(run.Warnings) != len(tt.warnings) {
				t.Fatalf("%q", run.Warnings)
			}
			for i, want := range tt.warnings {
				if !strings.HasPrefix(run.Warnings[i], want) || !strings.Contains(run.Warnings[i], "it ends with 3") {
					t.Errorf("%q, want %q with what the command printed", run.Warnings[i], want)
				}
			}
			v := vms["a"]
			if len(v.Tries) != tt.tries {
				t.Fatalf("%+v", v)
			}
			if first, failed := v.FirstError(); failed && (first.Reason != "hook_failed" || !strings.Contains(first.Message, "it ends with 3") || first.Hint == "") {
				t.Errorf("%+v", first)
			}
			if last := d.of("after_run"); last.When == "" || tt.when != config.AfterRun && last.State != string(tt.state) {
				t.Errorf("%+v", last)
			}
			agree(w, v, tt.when)
		})
	}
}

// agree checks what the failure of a hook of a VM leaves: no request to the SNA for a try that it prevented, and the restore point of one that
// it condemned.
func agree(w *agenttest.World, v record.RunVM, when string) {
	w.Helper()
	for _, try := range v.Tries {
		prevented := when == config.BeforeVM && try.Reason != ""
		if prevented != (try.BackupID == "") || !prevented && w.Posts(try.BackupID) != 1 {
			w.Errorf("%+v", try)
		}
		if prevented {
			continue
		}
		if b, err := w.Agent.Records.Backup(try.BackupID); err != nil || b.State != record.Completed {
			w.Errorf("%+v, %v", b, err)
		}
	}
}

// TestHooksEnd: a cancel and the end of the window end a hook that takes long, and its VM is not backed up. A hook that an agent left behind
// runs again.
func TestHooksEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		when   string
		change func(w *agenttest.World, id string)
		state  record.RunState
		counts record.Counts
		why    string
	}{
		"cancel before a run": {when: config.BeforeRun, change: cancelRun, state: record.RunCanceled, counts: record.Counts{Canceled: 2}, why: "the run was canceled"},
		"cancel before a VM":  {when: config.BeforeVM, change: cancelRun, state: record.RunCanceled, counts: record.Counts{Canceled: 2}, why: "the run was canceled"},
		"restart":             {when: config.BeforeVM, change: restartHub, state: record.RunCompleted, counts: record.Counts{Completed: 2}},
		"restart, run":        {when: config.BeforeRun, change: restartHub, state: record.RunCompleted, counts: record.Counts{Completed: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first atomic.Bool
			begun, end := make(chan struct{}), make(chan struct{})
			d := newDesk(t, func(e hook.Event) int {
				if e.When == tt.when && first.CompareAndSwap(false, true) {
					close(begun)
					<-end
				}
				return 0
			})
			t.Cleanup(func() { close(end) })
			w := hooked(t, d.everywhere(func(*config.Hook) {}))
			id := start(w)
			select {
			case <-begun:
			case <-time.After(time.Minute):
				t.Fatal("the hook has not begun")
			}
			tt.change(w, id)
			run, vms := ran(w, id)
			if run.State != tt.state || run.Counts != tt.counts || run.Why != tt.why {
				t.Errorf("%+v: %+v", run, vms)
			}
			for _, v := range vms {
				for _, try := range v.Tries {
					if want := min(len(try.BackupID), 1); w.Posts(try.BackupID) != want {
						t.Errorf("%s: %d requests to the SNA, want %d", v.VM, w.Posts(try.BackupID), want)
					}
				}
			}
		})
	}
}

func cancelRun(w *agenttest.World, id string) {
	_, err := w.Agent.Runs.Cancel(id)
	agenttest.Must(w.TB, err)
}

func restartHub(w *agenttest.World, _ string) {
	w.Stop()
	w.Start()
}

// TestHookOutlivesWindow: a VM whose hook is at work when the window ends is not backed up.
func TestHookOutlivesWindow(t *testing.T) {
	t.Parallel()
	var end time.Time
	d := newDesk(t, func(e hook.Event) int {
		if e.When == config.BeforeVM {
			time.Sleep(time.Until(end) + 100*time.Millisecond)
		}
		return 0
	})
	w := hooked(t, d.everywhere(func(*config.Hook) {}))
	end = time.Now().Add(10 * time.Second)
	run, err := w.Agent.Runs.Begin(record.Run{
		ID: "nightly-1", Schedule: "nightly", Groups: []string{"all"}, Due: time.Now(), StartedAt: time.Now(), State: record.RunRunning,
		WindowEnd: end, Prepared: true,
	})
	agenttest.Must(t, err)
	run, vms := ran(w, run.ID)
	if run.Counts != (record.Counts{Skipped: 2}) || len(w.SNA.State().PostsPerJob) != 0 || d.of("before_vm").VMName != "a" {
		t.Errorf("%+v: %+v, hooks %q", run, vms, d.seen())
	}
}
