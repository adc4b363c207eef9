package reconcile

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/units"
)

const (
	restoreUnit = "sendense-nbd-restore-vm-1-disk0-0123abcd"
	oursSlice   = "sendense-nbd.slice"
)

func restoreIn(state record.RestoreState) record.Restore {
	return record.Restore{ID: "restore-vm-1", State: state, Disks: []record.RestoreDisk{
		{DiskID: 0, Port: 10100, Unit: restoreUnit, InvocationID: "1"},
	}}
}

// TestPlanOfRestores: a unit is removed if it belongs to a restore that has ended. A lease is returned if no active restore has it.
func TestPlanOfRestores(t *testing.T) {
	ours := units.Unit{Name: restoreUnit, ActiveState: "active", Slice: oursSlice, InvocationID: "1"}
	with := func(change func(*units.Unit)) units.Unit {
		u := ours
		change(&u)
		return u
	}
	lease := record.Lease{Port: 10100, RestoreID: "restore-vm-1", Nonce: "0123abcd"}
	for name, test := range map[string]struct {
		unit     units.Unit
		restores []record.Restore
		want     action // of the unit; "" for none
		returned bool   // whether the lease is returned
	}{
		"served":         {ours, []record.Restore{restoreIn(record.RestoreServing)}, "", false},
		"being stopped":  {ours, []record.Restore{restoreIn(record.RestoreStopping)}, "", false},
		"ended":          {ours, []record.Restore{restoreIn(record.RestoreEnded)}, removeUnit, true},
		"not on record":  {ours, nil, leaveUnit, true},
		"another life":   {with(func(u *units.Unit) { u.InvocationID = "2" }), []record.Restore{restoreIn(record.RestoreEnded)}, leaveUnit, true},
		"another slice":  {with(func(u *units.Unit) { u.Slice = "user.slice" }), []record.Restore{restoreIn(record.RestoreEnded)}, leaveUnit, true},
		"another nonce":  {with(func(u *units.Unit) { u.Name += "0" }), []record.Restore{restoreIn(record.RestoreServing)}, leaveUnit, false},
		"only its name":  {with(func(u *units.Unit) { u.Name = "sendense-nbd-restore-" }), nil, leaveUnit, true},
		"socket is left": {units.Unit{Name: restoreUnit, SocketState: "active"}, []record.Restore{restoreIn(record.RestoreEnded)}, removeUnit, true},
	} {
		w := observed{slice: oursSlice, units: []units.Unit{test.unit}, leases: []record.Lease{lease}, restores: map[string]record.Restore{}}
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
	w := observed{scratch: []record.Restore{restoreIn(record.RestoreEnded)}}
	if steps := plan(w); len(steps) != 1 || steps[0].action != removeScratch || steps[0].restoreID != "restore-vm-1" {
		t.Errorf("overlays that are left: %+v", steps)
	}
}

// TestLostRestore: without a record a name is not enough to stop a unit.
func TestLostRestore(t *testing.T) {
	const export = "restore-vm-1-disk0"
	argv := []string{"/usr/bin/qemu-nbd", "--export-name=" + export, "--", "/r/vm/backup-vm-1/vm-disk0.qcow2"}
	ours := units.Unit{Name: restoreUnit, Slice: oursSlice, Argv: argv}
	repositories := []*storage.Repository{storage.New(storage.Options{Spec: storage.Spec{ID: "main", Path: "/r"}})}
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
