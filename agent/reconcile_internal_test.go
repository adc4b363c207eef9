package agent

import (
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/units"
)

func TestPlanBackups(t *testing.T) {
	want := map[backup.State]action{
		backup.Queued: resumeBackup, backup.Preparing: undoBackup, backup.Exporting: undoBackup, backup.Calling: unresolve,
		backup.Unresolved: resumeBackup, backup.Running: resumeBackup, backup.Finishing: resumeBackup, backup.Undoing: resumeBackup,
	}
	for _, s := range backup.States {
		if s.Terminal() {
			continue
		}
		steps := planBackups([]backup.Backup{{ID: "b", State: s}})
		if len(steps) != 1 || steps[0].action != want[s] || steps[0].reason == "" {
			t.Errorf("%s: %+v, want %s", s, steps, want[s])
		}
	}
}

func TestPlanUnits(t *testing.T) {
	const name, slice = "sendense-nbd-backup-a-disk1-x-1-disk0-01234567", "sendense-nbd.slice"
	run := backup.DiskRun{Unit: name, InvocationID: "i1"}
	loaded := units.Unit{Name: name, ActiveState: "active", InvocationID: "i1", Slice: slice}
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
			u := loaded
			if c.unit != nil {
				c.unit(&u)
			}
			steps := planUnits([]units.Unit{u}, slice, func(id string) (backup.Backup, bool) {
				if id != "backup-a-disk1-x-1" {
					t.Errorf("asked for backup %q", id)
				}
				if c.record == nil {
					return backup.Backup{}, false
				}
				return *c.record, true
			})
			switch {
			case c.want == "" && len(steps) != 0, c.want != "" && (len(steps) != 1 || steps[0].action != c.want || steps[0].reason == ""):
				t.Errorf("%+v, want %q", steps, c.want)
			}
		})
	}
}
