package clienttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// TestIncrementalOfAnotherVM: a name may later belong to another VM. An incremental is never based on a restore point of another
// VM; auto makes a full backup and says why.
func TestIncrementalOfAnotherVM(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(vm *record.VM)
		another string // "" if it is still the same VM
	}{
		"another path":    {func(vm *record.VM) { vm.InventoryPath = "/DC1/vm/new/vm" }, "inventory path"},
		"another vCenter": {func(vm *record.VM) { vm.VCenter = "other" }, "vCenter"},
		"made anew":       {func(vm *record.VM) { vm.UUID = "4210-NEW" }, "uuid"},
		"uuid not known":  {func(vm *record.VM) { vm.UUID = "" }, ""},
		"spelled otherwise": {func(vm *record.VM) {
			vm.InventoryPath, vm.UUID = vm.InventoryPath+"/", strings.ToUpper(vm.UUID)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, withVCenter, func(c *config.Config, _ *snatest.Options) { c.VCenters["other"] = c.VCenters["main"] })
			vm, sources := w.PutVM("vm", 4<<20)
			vm.VCenter, vm.UUID = "main", "4210-old"
			_, err := w.Agent.Inventory.Put(vm)
			agenttest.Must(t, err)
			full := w.Point("vm", record.Full)
			c.change(&vm)
			w.Disks.PutAgain(vm, sources)
			if c.another == "" {
				if b := w.Point("vm", record.Auto); b.Parent != full.ID || b.FullWhy != "" {
					t.Errorf("%+v", b)
				}
				return
			}
			_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
			agenttest.WantError(t, err, fault.NoParent, "is of another VM: the VM has the "+c.another)
			if b := w.Point("vm", record.Auto); b.Type != record.Full || !strings.Contains(b.FullWhy, full.ID+" is of another VM") {
				t.Errorf("%s, why full: %q", b.Type, b.FullWhy)
			}
		})
	}
}

// TestQueuedOfAnotherVM: the VM may be replaced while its incremental is queued.
func TestQueuedOfAnotherVM(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.PutVM("first", 1<<20)
	vm, _ := w.PutVM("vm", 1<<20)
	vm.UUID = "4210-old"
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	w.Point("vm", record.Full)
	w.SNA.Hold("copy/0")
	first := w.StartBackup("first")
	_, err = w.SNA.WaitHeld(t.Context(), first.ID, "copy/0")
	agenttest.Must(t, err)
	b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main", Queue: true})
	agenttest.Must(t, err)
	vm.UUID = "4210-new"
	_, err = w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	w.SNA.Release("copy/0")
	w.Wait(first.ID)
	if b = w.Wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(fault.NoParent) {
		t.Errorf("%s: %+v", b.State, b.Failure)
	}
}

// TestIdentityOutlivesTheDatabase: the manifests hold the identity of the VM.
func TestIdentityOutlivesTheDatabase(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, _ := w.PutVM("vm", 1<<20)
	vm.UUID = "4210-old"
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	full := w.Point("vm", record.Full)
	w.Stop()
	path := filepath.Join(w.Config.Agent.StateDirectory, "agent.db")
	agenttest.Must(t, os.Remove(path))
	db, err := store.Open(path, store.Options{})
	agenttest.Must(t, err)
	repo := storage.New(storage.Options{Spec: storage.Spec{ID: "main", Path: w.Config.Repositories[0].Path}})
	_, err = rebuild.Update(t.Context(), db, []*storage.Repository{repo})
	agenttest.Must(t, err)
	agenttest.Must(t, db.Close())
	w.Start()
	got, err := w.Agent.Records.Backup(full.ID)
	if agenttest.Must(t, err); got.VM.UUID != "4210-old" || got.Runs[0].CopiedWhy != "full backup" || got.Runs[0].Order != 1 {
		t.Errorf("%+v", got)
	}
	if vm, err := w.Agent.Inventory.Get("vm"); err != nil || vm.UUID != "4210-old" {
		t.Errorf("%+v, %v", vm, err)
	}
	vm.UUID = "4210-new"
	_, err = w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
	agenttest.WantError(t, err, fault.NoParent, "the VM has the uuid 4210-new, and the backup is of the VM with the uuid 4210-old")
}
