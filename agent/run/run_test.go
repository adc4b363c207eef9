package run_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
)

// nightly configures a group of all VMs but those that begin with "x", and a schedule for it that is never due by itself.
func nightly(change func(*config.Schedule)) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		c.DefaultRepository = "main"
		c.SNA.Cooldown = config.DurationOf(0)
		c.Groups = []config.Group{{ID: "all", VMs: []string{"*"}, Exclude: []string{"x*"}}}
		s := config.Schedule{ID: "nightly", Groups: []string{"all"}, Calendar: "2199-01-01 00:00", RetryWait: config.DurationOf(time.Second)}
		change(&s)
		c.Schedules = []config.Schedule{s}
	}
}

// ran waits for the end of a run, and returns it.
func ran(w *agenttest.World, id string) (record.Run, map[string]record.RunVM) {
	w.Helper()
	w.Eventually("run "+id+" has ended", func() bool {
		run, _, err := w.Agent.Runs.Get(id)
		agenttest.Must(w.TB, err)
		return run.State != record.RunRunning
	})
	run, vms, err := w.Agent.Runs.Get(id)
	agenttest.Must(w.TB, err)
	byName := map[string]record.RunVM{}
	for _, v := range vms {
		byName[v.VM] = v
	}
	return run, byName
}

func start(w *agenttest.World) string {
	w.Helper()
	run, err := w.Agent.Schedules.Run("nightly")
	agenttest.Must(w.TB, err)
	return run.ID
}

// TestRun: a run backs up the VMs of its groups, the oldest restore point first, each with one request to the SNA. A VM that cannot be backed
// up is not tried again, and the others do not suffer. The rules for full backups hold.
func TestRun(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, nightly(func(s *config.Schedule) { s.Parallel, s.FullAfter = 2, 1 }))
	for _, vm := range []string{"a", "b", "c", "xcluded"} {
		w.PutVM(vm, 1<<20)
	}
	_, err := w.Agent.Inventory.Put(record.VM{Name: "empty"})
	agenttest.Must(t, err)
	w.Point("a", record.Full)

	for i, want := range []record.Type{record.Full, record.Incremental, record.Full} {
		id := start(w)
		if i == 0 {
			_, err := w.Agent.Schedules.Run("nightly")
			agenttest.WantError(t, err, fault.WrongState, "run "+id+" is in progress")
		}
		run, vms := ran(w, id)
		if run.State != record.RunPartial || run.Counts != (record.Counts{Completed: 3, Failed: 1}) || len(vms) != 4 || !run.Manual || run.EndedAt.Before(run.StartedAt) {
			t.Fatalf("%+v, %d VMs", run, len(vms))
		}
		if v := vms["empty"]; v.State != record.RunVMFailed || len(v.Tries) != 1 || v.Tries[0].Reason != "vm_has_no_disks" || v.Tries[0].BackupID != "" || v.Tries[0].Hint == "" {
			t.Errorf("%+v", v)
		}
		for _, name := range []string{"a", "b", "c"} {
			v := vms[name]
			if v.State != record.RunVMCompleted || len(v.Tries) != 1 || v.Tries[0].Received == 0 || w.Posts(v.Tries[0].BackupID) != 1 {
				t.Fatalf("%+v", v)
			}
			b, err := w.Agent.Records.Backup(v.Tries[0].BackupID)
			agenttest.Must(t, err)
			if b.Tags["run"] != id || b.Tags["schedule"] != "nightly" || b.RequestID != v.Tries[0].RequestID {
				t.Errorf("%+v", b)
			}
			if name != "a" && b.Type != want {
				t.Errorf("run %d: %s is %s, want %s", i+1, name, b.Type, want)
			}
		}
		if i == 0 && (vms["a"].Place != 3 || vms["b"].Place != 0) {
			t.Errorf("a VM with a restore point is in place %d, one without in %d", vms["a"].Place, vms["b"].Place)
		}
	}
	w.Eventually("the last run is counted", func() bool {
		return w.Scrape()[`sendense_schedule_runs_total{result="partial",schedule="nightly"}`] == 3
	})
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_schedule_runs_total{result="partial",schedule="nightly"}`: 3, `sendense_schedule_run_vms_total{result="completed",schedule="nightly"}`: 9,
		`sendense_schedule_run_vms_total{result="failed",schedule="nightly"}`: 3, `sendense_schedule_last_run_ok{schedule="nightly"}`: 0, `sendense_schedule_paused{schedule="nightly"}`: 0,
		`sendense_agent_vms_ungrouped`: 0,
	})
	_, err = w.Agent.Schedules.Run("weekly")
	agenttest.WantError(t, err, fault.ScheduleNotFound, `schedule "weekly" is not configured`)
	_, _, err = w.Agent.Runs.Get("nightly-1")
	agenttest.WantError(t, err, fault.RunNotFound, `run "nightly-1" is not on record`)
}

// TestRunTriesAgain: a VM whose backup failed for a reason that can go away is tried again, after all others, and the record keeps the first
// error. One that fails as often as allowed has failed.
func TestRunTriesAgain(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, nightly(func(s *config.Schedule) { s.Parallel, s.Retries = 1, new(1) }))
	w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "vCenter is busy"}))
	id := start(w)
	w.Eventually("both have failed once", func() bool {
		_, vms, err := w.Agent.Runs.Get(id)
		agenttest.Must(t, err)
		return len(vms) == 2 && !slices.ContainsFunc(vms, func(v record.RunVM) bool { return v.Counted() == 0 || v.Tries[0].Ended.IsZero() })
	})
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
	run, vms := ran(w, id)
	for name, v := range vms {
		first, failed := v.FirstError()
		if !failed || first.Reason != "sna_refused" || !strings.Contains(first.Message, "vCenter is busy") || len(v.Tries) > 2 {
			t.Errorf("%s: %+v", name, v)
		}
		if v.State == record.RunVMCompleted && w.Posts(v.Tries[1].BackupID) != 1 {
			t.Errorf("%s: %d requests to the SNA", name, w.Posts(v.Tries[1].BackupID))
		}
	}
	if vms["b"].State != record.RunVMCompleted { // a may have used its second try before the fault was cleared
		t.Errorf("%+v: %+v", run, vms["b"])
	}

	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no licence"}))
	run, vms = ran(w, start(w))
	if run.State != record.RunFailed || vms["a"].State != record.RunVMFailed || len(vms["a"].Tries) != 2 {
		t.Errorf("%+v: %+v", run, vms["a"])
	}
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
}

// TestRunGoesOn: an agent that is restarted continues the run of the one before it: what was copied meanwhile counts, what it had only
// written down is asked for, and nothing is asked for twice.
func TestRunGoesOn(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, nightly(func(s *config.Schedule) { s.Parallel = 1 }))
	for _, vm := range []string{"a", "b", "c"} {
		w.PutVM(vm, 1<<20)
	}
	w.SNA.Hold("copy/0")
	id := start(w)
	var held string
	w.Eventually("the first one is copied", func() bool {
		_, vms, err := w.Agent.Runs.Get(id)
		agenttest.Must(t, err)
		if len(vms) == 0 || len(vms[0].Tries) == 0 {
			return false
		}
		held = vms[0].Tries[0].BackupID
		return held != ""
	})
	_, err := w.SNA.WaitHeld(t.Context(), held, "copy/0")
	agenttest.Must(t, err)
	w.Stop()
	db, err := store.Open(w.Config.Agent.StateDirectory+"/agent.db", store.Options{})
	agenttest.Must(t, err)
	_, err = db.UpdateRunVM(id, "b", func(v *record.RunVM) { // as if the agent had been killed before it asked
		v.State, v.Tries = record.RunVMRunning, []record.Try{{RequestID: record.TryRequestID(id, "b", 1), Type: record.Auto, Began: time.Now()}}
	})
	agenttest.Must(t, err)
	agenttest.Must(t, db.Close())
	w.Start()
	w.SNA.Release("copy/0")
	run, vms := ran(w, id)
	if run.State != record.RunCompleted || vms["a"].Tries[0].BackupID != held {
		t.Errorf("%+v: %+v", run, vms)
	}
	for name, v := range vms {
		if len(v.Tries) != 1 || w.Posts(v.Tries[0].BackupID) != 1 {
			t.Errorf("%s: %d requests to the SNA: %+v", name, w.Posts(v.Tries[0].BackupID), v)
		}
	}
}

// TestRunEnds: the end of the window and a cancel. Nothing begins after them, and what runs continues or is canceled.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, nightly(func(s *config.Schedule) { s.Parallel = 1 }))
	for _, vm := range []string{"a", "b"} {
		w.PutVM(vm, 1<<20)
	}
	begin := func(n int, change func(*record.Run)) string {
		run := record.Run{ID: fmt.Sprintf("nightly-%d", n), Schedule: "nightly", Groups: []string{"all"}, Due: time.Now(), StartedAt: time.Now(), State: record.RunRunning}
		change(&run)
		w.SNA.Hold("copy/0")
		run, err := w.Agent.Runs.Begin(run)
		agenttest.Must(t, err)
		w.Eventually("the first one is copied", func() bool {
			_, vms, err := w.Agent.Runs.Get(run.ID)
			agenttest.Must(t, err)
			return len(vms) > 0 && len(vms[0].Tries) > 0 && vms[0].Tries[0].BackupID != ""
		})
		return run.ID
	}
	atEnd := func(t *testing.T, id string, state record.RunState, counts record.Counts, why string) {
		t.Helper()
		run, vms := ran(w, id)
		words := ""
		for _, v := range vms {
			words += v.Why + ". "
		}
		if run.State != state || run.Counts != counts || !strings.Contains(words, why) {
			t.Errorf("%+v: %+v", run, vms)
		}
	}
	soon := func(r *record.Run) { r.WindowEnd = time.Now().Add(2 * time.Second) }

	id := begin(1, soon)
	w.Eventually("the window has ended for the second one", func() bool {
		_, vms, err := w.Agent.Runs.Get(id)
		agenttest.Must(t, err)
		return vms[1].State == record.RunVMSkipped
	})
	w.SNA.Release("copy/0")
	atEnd(t, id, record.RunPartial, record.Counts{Completed: 1, Skipped: 1}, "the window of the schedule ended before its turn")

	id = begin(2, func(r *record.Run) { soon(r); r.CancelAfterWindow = true })
	atEnd(t, id, record.RunPartial, record.Counts{Canceled: 1, Skipped: 1}, "the window of the schedule ended")
	w.SNA.Release("copy/0")

	id = begin(3, func(*record.Run) {})
	_, err := w.Agent.Runs.Cancel(id)
	agenttest.Must(t, err)
	atEnd(t, id, record.RunCanceled, record.Counts{Canceled: 2}, "the run was canceled")
	w.SNA.Release("copy/0")
	_, err = w.Agent.Runs.Cancel(id)
	agenttest.WantError(t, err, fault.WrongState, "has ended: it is canceled")

	id = begin(4, func(*record.Run) {})
	_, vms, err := w.Agent.Runs.Get(id)
	agenttest.Must(t, err)
	_, err = w.Agent.Backups.Cancel(t.Context(), vms[0].Tries[0].BackupID) // a person cancels one backup: the run continues
	agenttest.Must(t, err)
	w.SNA.Release("copy/0")
	atEnd(t, id, record.RunPartial, record.Counts{Completed: 1, Canceled: 1}, "the backup was canceled")
}
