package agent

import (
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/units"
)

func TestFate(t *testing.T) {
	want := map[backup.State]action{
		backup.Queued: resumeBackup, backup.Preparing: undoBackup, backup.Exporting: undoBackup, backup.Calling: unresolve,
		backup.Unresolved: resumeBackup, backup.Running: resumeBackup, backup.Finishing: resumeBackup, backup.Undoing: resumeBackup,
	}
	lost := map[backup.State]bool{backup.Calling: true, backup.Unresolved: true, backup.Running: true}
	for _, s := range backup.States {
		if s.Terminal() {
			continue
		}
		b := backup.Backup{ID: "b", State: s, BootID: "one"}
		for _, boot := range []string{"", "one"} {
			if got := fate(b, boot); got.action != want[s] || got.reason == "" {
				t.Errorf("%s, boot %q: %+v, want %s", s, boot, got, want[s])
			}
		}
		wanted := want[s]
		if lost[s] {
			wanted = loseBackup
		}
		if got := fate(b, "two"); got.action != wanted || got.reason == "" {
			t.Errorf("%s, after a restart of the host: %+v, want %s", s, got, wanted)
		}
	}
	if got := fate(backup.Backup{State: backup.Preparing, Queued: true}, "one"); got.action != resumeBackup {
		t.Errorf("whose turn had just come: %+v", got)
	}
	if got := fate(backup.Backup{State: backup.Exporting, Queued: true}, "one"); got.action != undoBackup {
		t.Errorf("whose turn had come: %+v", got)
	}
	if got := fate(backup.Backup{State: backup.Running}, "two"); got.action != resumeBackup {
		t.Errorf("of an agent that did not record the boot: %+v", got)
	}
}

func TestPlanUnits(t *testing.T) {
	const id, name, slice = "backup-a-disk1-x-1", "sendense-nbd-backup-a-disk1-x-1-disk0-01234567", "sendense-nbd.slice"
	run := backup.DiskRun{Unit: name, InvocationID: "i1"}
	for _, c := range []struct {
		name   string
		unit   func(*units.Unit)
		record *backup.Backup
		want   action // "" for no step
	}{
		{"of an active backup", nil, &backup.Backup{State: backup.Running, Runs: []backup.DiskRun{run}}, ""},
		{"of a backup that has ended", nil, &backup.Backup{State: backup.Failed, Runs: []backup.DiskRun{run}}, removeUnit},
		{"started, never recorded", nil, &backup.Backup{State: backup.Failed, Runs: []backup.DiskRun{{Unit: name}}}, removeUnit},
		{"only the socket is left", func(u *units.Unit) { *u = units.Unit{Name: name, SocketState: "active"} }, &backup.Backup{State: backup.Completed, Runs: []backup.DiskRun{run}}, removeUnit},
		{"no record", nil, nil, leaveUnit},
		{"another nonce", nil, &backup.Backup{State: backup.Failed, Runs: []backup.DiskRun{{Unit: name + "x"}}}, leaveUnit},
		{"another life", func(u *units.Unit) { u.InvocationID = "i2" }, &backup.Backup{State: backup.Failed, Runs: []backup.DiskRun{run}}, leaveUnit},
		{"another slice", func(u *units.Unit) { u.Slice = "system.slice" }, &backup.Backup{State: backup.Failed, Runs: []backup.DiskRun{run}}, leaveUnit},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := units.Unit{Name: name, ActiveState: "active", InvocationID: "i1", Slice: slice}
			if c.unit != nil {
				c.unit(&u)
			}
			w := world{slice: slice, units: []units.Unit{u}, records: map[string]backup.Backup{}}
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

// TestPlanOfNothingSeen: about what was not looked at nothing is concluded.
func TestPlanOfNothingSeen(t *testing.T) {
	w := world{
		records: map[string]backup.Backup{"a": {ID: "a", State: backup.Deleting}},
		leases:  []backup.Lease{{Port: 1, BackupID: "a"}},
	}
	if steps := plan(w); len(steps) != 0 {
		t.Errorf("%+v", steps)
	}
}
