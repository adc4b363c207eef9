package reconcile

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/units"
)

func TestFate(t *testing.T) {
	want := map[record.State]action{
		record.Queued: resumeBackup, record.Preparing: undoBackup, record.Exporting: undoBackup, record.Calling: unresolve,
		record.Unresolved: resumeBackup, record.Running: resumeBackup, record.Finishing: resumeBackup, record.Undoing: resumeBackup,
	}
	lost := map[record.State]bool{record.Calling: true, record.Unresolved: true, record.Running: true}
	for _, s := range record.States {
		if s.Terminal() {
			continue
		}
		b := record.Backup{ID: "b", State: s, BootID: "one"}
		for _, boot := range []string{"", "one"} {
			if got := fated(b, boot); got.action != want[s] || got.reason == "" {
				t.Errorf("%s, boot %q: %+v, want %s", s, boot, got, want[s])
			}
		}
		wanted := want[s]
		if lost[s] {
			wanted = loseBackup
		}
		if got := fated(b, "two"); got.action != wanted || got.reason == "" {
			t.Errorf("%s, after a restart of the host: %+v, want %s", s, got, wanted)
		}
	}
	if got := fated(record.Backup{State: record.Preparing, Queued: true}, "one"); got.action != resumeBackup {
		t.Errorf("whose turn had just come: %+v", got)
	}
	if got := fated(record.Backup{State: record.Exporting, Queued: true}, "one"); got.action != undoBackup {
		t.Errorf("whose turn had come: %+v", got)
	}
	if got := fated(record.Backup{State: record.Running}, "two"); got.action != resumeBackup {
		t.Errorf("of an agent that did not record the boot: %+v", got)
	}
}

func TestPlanUnits(t *testing.T) {
	const id, name, slice = "backup-a-disk1-x-1", "sendense-nbd-backup-a-disk1-x-1-disk0-01234567", "sendense-nbd.slice"
	run := record.DiskRun{Unit: name, InvocationID: "i1"}
	for _, c := range []struct {
		name   string
		unit   func(*units.Unit)
		record *record.Backup
		want   action // "" for no step
	}{
		{"of an active backup", nil, &record.Backup{State: record.Running, Runs: []record.DiskRun{run}}, ""},
		{"of a backup that has ended", nil, &record.Backup{State: record.Failed, Runs: []record.DiskRun{run}}, removeUnit},
		{"started, never recorded", nil, &record.Backup{State: record.Failed, Runs: []record.DiskRun{{Unit: name}}}, removeUnit},
		{"only the socket is left", func(u *units.Unit) { *u = units.Unit{Name: name, SocketState: "active"} }, &record.Backup{State: record.Completed, Runs: []record.DiskRun{run}}, removeUnit},
		{"no record", nil, nil, leaveUnit},
		{"another nonce", nil, &record.Backup{State: record.Failed, Runs: []record.DiskRun{{Unit: name + "x"}}}, leaveUnit},
		{"another life", func(u *units.Unit) { u.InvocationID = "i2" }, &record.Backup{State: record.Failed, Runs: []record.DiskRun{run}}, leaveUnit},
		{"another slice", func(u *units.Unit) { u.Slice = "system.slice" }, &record.Backup{State: record.Failed, Runs: []record.DiskRun{run}}, leaveUnit},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := units.Unit{Name: name, ActiveState: "active", InvocationID: "i1", Slice: slice}
			if c.unit != nil {
				c.unit(&u)
			}
			w := observed{slice: slice, units: []units.Unit{u}, records: map[string]record.Backup{}}
			if c.record != nil {
				w.records[id] = *c.record
			}
			steps := plan(w)
			switch {
			case c.want == "" && len(steps) != 0, c.want != "" && (len(steps) != 1 || steps[0].action != c.want || steps[0].reason == ""):
				t.Errorf("%+v, want %q", steps, c.want)
			}
		})
	}
}

// TestPlanOfNothingSeen: nothing is planned for what was not observed.
func TestPlanOfNothingSeen(t *testing.T) {
	w := observed{
		records: map[string]record.Backup{"a": {ID: "a", State: record.Deleting}},
		leases:  []record.Lease{{Port: 1, BackupID: "a"}},
	}
	if steps := plan(w); len(steps) != 0 {
		t.Errorf("%+v", steps)
	}
}

// fated is the step for one active backup without a job.
func fated(b record.Backup, bootID string) step {
	return planBackups(observed{idle: []record.Backup{b}, bootID: bootID})[0]
}
