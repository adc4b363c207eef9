package clienttest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// withVCenter gives the agent a vCenter whose password is a systemd credential.
func withVCenter(c *config.Config, o *snatest.Options) {
	o.OldContract = false
	c.VCenters = map[string]config.VCenter{
		"main": {Host: "vcenter.test", User: "backup", PasswordCredential: "vcenter-main", Datacenter: "DC1"},
	}
}

// TestDiscover puts a VM on record by discovery alone, and backs it up.
func TestDiscover(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, withVCenter)
	_, sources := w.PutVM("vm", 1<<20, 2<<20)
	_, err := w.Agent.Inventory.Put(record.VM{Name: "vm", InventoryPath: "/DC1/vm/vm", BackupInterval: "8h"})
	agenttest.Must(t, err)
	found, err := w.Agent.Inventory.Discover(t.Context(), inventory.DiscoverRequest{VCenter: "main", Store: true})
	agenttest.Must(t, err)
	if len(found) != 1 || !found[0].Stored || len(found[0].VM.Disks) != 2 || found[0].VM.Disks[1].DeviceKey != 2001 {
		t.Fatalf("found %+v", found)
	}
	if vm, err := w.Agent.Inventory.Get("vm"); err != nil || vm.BackupInterval != "8h" {
		t.Errorf("discovery has changed what is expected: %+v, %v", vm, err)
	}
	b := w.Completes(w.StartBackup("vm"), sources)
	post := w.SNA.State().Posts[0]
	if post.Body["vcenter_host"] != "vcenter.test" || post.Body["vm_path"] != "/DC1/vm/vm" || post.Body["job_id"] != b.ID {
		t.Errorf("the SNA was sent %v", post.Body)
	}
	_, err = w.Agent.Inventory.Discover(t.Context(), inventory.DiscoverRequest{VCenter: "other"})
	agenttest.WantError(t, err, fault.InvalidRequest, `vcenter "other" is not configured: want one of the configured names: main`)
}

// TestRefresh: the backup holds the disks that the VM has now, not those that it had when it was put on record.
func TestRefresh(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, withVCenter)
	vm, sources := w.PutVM("vm", 1<<20, 2<<20)
	stale := vm
	vm, sources = w.Disks.Add(vm, sources, 4<<20)
	agenttest.Must(t, os.Truncate(sources[0], 3<<20))
	w.Disks.PutAgain(vm, sources)
	stale.VCenter, stale.Refresh = "main", record.RequireRefresh
	_, err := w.Agent.Inventory.Put(stale)
	agenttest.Must(t, err)
	b := w.Completes(w.StartBackup("vm"), sources)
	if len(b.Runs) != 3 || b.Runs[0].CapacityBytes != 3<<20 {
		t.Errorf("disks %+v", b.Runs)
	}
	now, err := w.Agent.Inventory.Get("vm")
	agenttest.Must(t, err)
	if len(now.Disks) != 3 || now.Refresh != record.RequireRefresh || now.ContextID != "ctx-1" {
		t.Errorf("record %+v", now)
	}
}

func TestRefreshFails(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, withVCenter)
	vm, sources := w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DiscoverFails: "vCenter login failed"}))
	vm.VCenter, vm.Refresh = "main", record.RequireRefresh
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	if e := agenttest.WantError(t, err, fault.SNARefused, "vCenter login failed"); strings.Contains(e.Message, "secret-word") {
		t.Errorf("the error holds the password: %s", e.Message)
	}
	vm.Refresh = record.PreferRefresh
	_, err = w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	w.Completes(w.StartBackup("vm"), sources)
}
