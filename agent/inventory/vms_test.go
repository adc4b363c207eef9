package inventory_test

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
)

// TestCheckVM: Check reports what Put does, and changes nothing.
func TestCheckVM(t *testing.T) {
	w := agenttest.New(t)
	check := func(vm record.VM, created, unchanged bool) {
		t.Helper()
		c, u, err := w.Agent.Inventory.Check(vm)
		if err != nil || c != created || u != unchanged {
			t.Errorf("%+v: created %v, unchanged %v, error %v; want %v, %v", vm, c, u, err, created, unchanged)
		}
	}
	vm := record.VM{Name: "vm", InventoryPath: "/DC1/vm/vm", Disks: []record.Disk{{ID: 0, CapacityBytes: 1 << 20}}}
	check(vm, true, false)
	check(vm, true, false)
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	check(vm, false, true)
	vm.Disks = []record.Disk{{ID: 0, CapacityBytes: 2 << 20}}
	check(vm, false, false)
	vm.VCenter = "nosuch"
	_, _, err = w.Agent.Inventory.Check(vm)
	agenttest.WantError(t, err, fault.InvalidRequest, `vcenter "nosuch" is not configured: the configuration has no vCenters`)
	for _, path := range []string{"vm", "DC1/vm/vm", "VirtualMachine:vm-42"} { // with these paths, SBC may find a VM that has another path on record
		_, _, err = w.Agent.Inventory.Check(record.VM{Name: "vm", InventoryPath: path})
		agenttest.WantError(t, err, fault.InvalidRequest, path+`: want the whole path, beginning with "/"`)
	}
	_, _, err = w.Agent.Inventory.Check(record.VM{Name: "a\x1bb"})
	agenttest.WantError(t, err, fault.InvalidRequest, "without control characters")
	_, _, err = w.Agent.Records.List(ledger.ListQuery{Since: time.Unix(-1, 0)})
	agenttest.WantError(t, err, fault.InvalidRequest, "want a time between 1970 and 2262")
}
