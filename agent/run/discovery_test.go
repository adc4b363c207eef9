package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestRunDiscovers: a VM that was made yesterday is in the next run, and one that was removed is not. A vCenter that cannot be asked delays
// no VM on record.
func TestRunDiscovers(t *testing.T) {
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	agenttest.Must(t, os.WriteFile(filepath.Join(credentials, "vcenter-main"), []byte("secret"), 0o600))
	w := agenttest.New(t, nightly(func(*config.Schedule) {}), func(c *config.Config, _ *snatest.Options) {
		c.VCenters = map[string]config.VCenter{"main": {Host: "vcenter.example.com", User: "u", PasswordCredential: "vcenter-main", Datacenter: "DC1"}}
		c.Groups[0].VCenters = []string{"main"}
		c.Discovery.Interval = config.DurationOf(time.Millisecond)
	})
	simulated := func(name string) {
		source := filepath.Join(w.Dir, name+".raw")
		agenttest.WriteSource(t, source, 1<<20)
		agenttest.Must(t, w.SNA.SetVM(snatest.VM{Name: name, Path: "/DC1/vm/" + name, Disks: []snatest.Disk{{Key: 2000, Source: source}}}))
	}
	simulated("old")
	simulated("removed")
	run, vms := ran(w, start(w))
	if run.State != record.RunCompleted || len(vms) != 2 || len(run.Warnings) != 0 {
		t.Fatalf("%+v: %+v", run, vms)
	}
	simulated("made")
	w.SNA.RemoveVM("/DC1/vm/removed")
	run, vms = ran(w, start(w))
	if run.State != record.RunCompleted || len(vms) != 2 || vms["made"].State != record.RunVMCompleted || vms["removed"].VM != "" {
		t.Errorf("%+v: %+v", run, vms)
	}
	g, err := w.Agent.Groups.Status("all")
	agenttest.Must(t, err)
	for _, m := range g.Members {
		if in := m.VM.Name != "removed"; m.In != in || !in && m.Why != "vCenter does not have it any more" {
			t.Errorf("%s: %v, %s", m.VM.Name, m.In, m.Why)
		}
	}
	w.WantSeries(w.Scrape(), agenttest.Series{"sendense_agent_vms_missing": 1})

	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DiscoverFails: "session is not authenticated"}))
	run, vms = ran(w, start(w))
	if run.State != record.RunCompleted || len(vms) != 2 || len(run.Warnings) != 1 || !strings.Contains(run.Warnings[0], "session is not authenticated") {
		t.Errorf("%+v: %+v", run, vms)
	}
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))

	simulated("removed") // it is there again
	run, vms = ran(w, start(w))
	if run.State != record.RunCompleted || len(vms) != 3 {
		t.Errorf("%+v: %+v", run, vms)
	}
}

// TestScheduleIsDue: a schedule begins a run by itself when it is due, and none while it is paused.
func TestScheduleIsDue(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, nightly(func(s *config.Schedule) { s.Calendar = "*:*" }))
	w.PutVM("a", 1<<20)
	var runs []record.Run
	w.Eventually("a run has ended", func() (ended bool) {
		status, err := w.Agent.Schedules.Status(t.Context(), "nightly", 1)
		agenttest.Must(t, err)
		if status.Last != nil && status.Last.State != record.RunRunning {
			runs = append(runs, *status.Last)
		}
		return len(runs) > 0
	})
	r := runs[0]
	if r.State != record.RunCompleted || r.Manual || r.Due.Second() != 0 || r.ID != record.RunID("nightly", r.Due) || r.StartedAt.Sub(r.Due) > time.Minute {
		t.Errorf("%+v", r)
	}
	status, err := w.Agent.Schedules.Pause(t.Context(), "nightly", "new disks")
	agenttest.Must(t, err)
	if status.State.PausedSince.IsZero() || len(status.Next) != 0 {
		t.Errorf("%+v", status)
	}
	status, err = w.Agent.Schedules.Resume(t.Context(), "nightly")
	agenttest.Must(t, err)
	if len(status.Next) != 1 || time.Until(status.Next[0]) > time.Minute {
		t.Errorf("%+v", status)
	}
}
