package agent_test

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
)

// CheckVM foretells what PutVM does, and does nothing.
func TestCheckVM(t *testing.T) {
	w := newWorld(t)
	check := func(vm record.VM, created, unchanged bool) {
		t.Helper()
		c, u, err := w.agent.CheckVM(vm)
		if err != nil || c != created || u != unchanged {
			t.Errorf("%+v: created %v, unchanged %v, error %v; want %v, %v", vm, c, u, err, created, unchanged)
		}
	}
	vm := record.VM{Name: "vm", InventoryPath: "/DC1/vm/vm", Disks: []record.Disk{{ID: 0, CapacityBytes: 1 << 20}}}
	check(vm, true, false)
	check(vm, true, false)
	_, err := w.agent.PutVM(vm)
	must(t, err)
	check(vm, false, true)
	vm.Disks = []record.Disk{{ID: 0, CapacityBytes: 2 << 20}}
	check(vm, false, false)
	vm.VCenter = "nosuch"
	_, _, err = w.agent.CheckVM(vm)
	wantError(t, err, agent.InvalidRequest, `vcenter "nosuch" is not configured: the configuration has no vCenters`)
	for _, path := range []string{"vm", "DC1/vm/vm", "VirtualMachine:vm-42"} { // SBC finds a VM by these that has another path on record
		_, _, err = w.agent.CheckVM(record.VM{Name: "vm", InventoryPath: path})
		wantError(t, err, agent.InvalidRequest, path+`: want the whole path, beginning with "/"`)
	}
	_, _, err = w.agent.CheckVM(record.VM{Name: "a\x1bb"})
	wantError(t, err, agent.InvalidRequest, "without control characters")
	_, _, err = w.agent.Backups(agent.ListQuery{Since: time.Unix(-1, 0)})
	wantError(t, err, agent.InvalidRequest, "want a time between 1970 and 2262")
}
