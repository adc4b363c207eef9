package agent

import (
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/units"
)

const (
	restoreUnit = "sendense-nbd-restore-vm-1-disk0-0123abcd"
	oursSlice   = "sendense-nbd.slice"
)

func restoreIn(state backup.RestoreState) backup.Restore {
	return backup.Restore{ID: "restore-vm-1", State: state, Disks: []backup.RestoreDisk{
		{DiskID: 0, Port: 10100, Unit: restoreUnit, InvocationID: "1"},
	}}
}

// TestPlanOfRestores: a unit goes when it is proven to be of a restore that has ended; a lease when no active restore has it.
func TestPlanOfRestores(t *testing.T) {
	ours := units.Unit{Name: restoreUnit, ActiveState: "active", Slice: oursSlice, InvocationID: "1"}
	with := func(change func(*units.Unit)) units.Unit {
		u := ours
		change(&u)
		return u
	}
	lease := backup.Lease{Port: 10100, RestoreID: "restore-vm-1", Nonce: "0123abcd"}
	for name, test := range map[string]struct {
		unit     units.Unit
		restores []backup.Restore
		want     action // of the unit; "" for none
		returned bool   // whether the lease is given back
	}{
		"served":         {ours, []backup.Restore{restoreIn(backup.RestoreServing)}, "", false},
		"being stopped":  {ours, []backup.Restore{restoreIn(backup.RestoreStopping)}, "", false},
		"ended":          {ours, []backup.Restore{restoreIn(backup.RestoreEnded)}, removeUnit, true},
		"not on record":  {ours, nil, leaveUnit, true},
		"another life":   {with(func(u *units.Unit) { u.InvocationID = "2" }), []backup.Restore{restoreIn(backup.RestoreEnded)}, leaveUnit, true},
		"another slice":  {with(func(u *units.Unit) { u.Slice = "user.slice" }), []backup.Restore{restoreIn(backup.RestoreEnded)}, leaveUnit, true},
		"another nonce":  {with(func(u *units.Unit) { u.Name += "0" }), []backup.Restore{restoreIn(backup.RestoreServing)}, leaveUnit, false},
		"only its name":  {with(func(u *units.Unit) { u.Name = "sendense-nbd-restore-" }), nil, leaveUnit, true},
		"socket is left": {units.Unit{Name: restoreUnit, SocketState: "active"}, []backup.Restore{restoreIn(backup.RestoreEnded)}, removeUnit, true},
	} {
		w := world{slice: oursSlice, units: []units.Unit{test.unit}, leases: []backup.Lease{lease}, restores: map[string]backup.Restore{}}
		for _, r := range test.restores {
			w.restores[r.ID] = r
		}
		var got action
		returned := false
		for _, s := range plan(w) {
			if s.action == returnLease {
				returned = true
			} else {
				got = s.action
			}
			if s.restoreID == "" && s.unit != "sendense-nbd-restore-" || s.reason == "" {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if got != test.want || returned != test.returned {
			t.Errorf("%s: %q, lease returned %v", name, got, returned)
		}
	}
	w := world{scratch: []backup.Restore{restoreIn(backup.RestoreEnded)}}
	if steps := plan(w); len(steps) != 1 || steps[0].action != removeScratch || steps[0].restoreID != "restore-vm-1" {
		t.Errorf("overlays that are left: %+v", steps)
	}
}

// TestLostRestore: without a record it takes more than a name to stop a unit.
func TestLostRestore(t *testing.T) {
	const export = "restore-vm-1-disk0"
	argv := []string{"/usr/bin/qemu-nbd", "--export-name=" + export, "--", "/r/vm/backup-vm-1/vm-disk0.qcow2"}
	ours := units.Unit{Name: restoreUnit, Slice: oursSlice, Argv: argv}
	repositories := []*repository.Repository{repository.New("main", "/r", nil)}
	if err := lostRestore(ours, oursSlice, repositories); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*units.Unit){
		"name":       func(u *units.Unit) { u.Name = "sendense-nbd-restore-vm-1-disk0" },
		"slice":      func(u *units.Unit) { u.Slice = "user.slice" },
		"program":    func(u *units.Unit) { u.Argv = []string{"sleep", "infinity"} },
		"export":     func(u *units.Unit) { u.Argv = []string{argv[0], "--export-name=vm-disk0", "--", argv[3]} },
		"repository": func(u *units.Unit) { u.Argv = []string{argv[0], argv[1], "--", "/rr/vm/backup-vm-1/vm-disk0.qcow2"} },
	} {
		u := ours
		change(&u)
		if lostRestore(u, oursSlice, repositories) == nil {
			t.Errorf("another %s: it would be stopped", name)
		}
	}
}
