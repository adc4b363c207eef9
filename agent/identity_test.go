package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
)

// TestIncrementalOfAnotherVM: under one name there may be another VM one day. An incremental never stands on a restore point of
// that; auto makes a full backup and says why.
func TestIncrementalOfAnotherVM(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(vm *record.VM)
		another string // "" if it is the same VM still
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
			w := newWorld(t, withVCenter(t), func(c *config.Config, _ *snatest.Options) { c.VCenters["other"] = c.VCenters["main"] })
			vm, sources := w.putVM("vm", 4<<20)
			vm.VCenter, vm.UUID = "main", "4210-old"
			_, err := w.agent.PutVM(vm)
			must(t, err)
			full := w.point("vm", record.Full)
			c.change(&vm)
			w.putAgain(vm, sources)
			if c.another == "" {
				if b := w.point("vm", record.Auto); b.Parent != full.ID || b.FullWhy != "" {
					t.Errorf("%+v", b)
				}
				return
			}
			_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
			wantError(t, err, agent.NoParent, "is of another VM: the VM has the "+c.another)
			if b := w.point("vm", record.Auto); b.Type != record.Full || !strings.Contains(b.FullWhy, full.ID+" is of another VM") {
				t.Errorf("%s, why full: %q", b.Type, b.FullWhy)
			}
		})
	}
}

// TestQueuedOfAnotherVM: the VM may be made anew while its incremental is queued.
func TestQueuedOfAnotherVM(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.putVM("first", 1<<20)
	vm, _ := w.putVM("vm", 1<<20)
	vm.UUID = "4210-old"
	_, err := w.agent.PutVM(vm)
	must(t, err)
	w.point("vm", record.Full)
	w.sna.Hold("copy/0")
	first := w.startBackup("first")
	_, err = w.sna.WaitHeld(t.Context(), first.ID, "copy/0")
	must(t, err)
	b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main", Queue: true})
	must(t, err)
	vm.UUID = "4210-new"
	_, err = w.agent.PutVM(vm)
	must(t, err)
	w.sna.Release("copy/0")
	w.wait(first.ID)
	if b = w.wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(agent.NoParent) {
		t.Errorf("%s: %+v", b.State, b.Failure)
	}
}

// TestIdentityOutlivesTheDatabase: what a VM was is in the manifests.
func TestIdentityOutlivesTheDatabase(t *testing.T) {
	w := newWorld(t)
	vm, _ := w.putVM("vm", 1<<20)
	vm.UUID = "4210-old"
	_, err := w.agent.PutVM(vm)
	must(t, err)
	full := w.point("vm", record.Full)
	w.stop()
	path := filepath.Join(w.config.Agent.StateDirectory, "agent.db")
	must(t, os.Remove(path))
	db, err := store.Open(path, store.Options{})
	must(t, err)
	repo := repository.New("main", w.config.Repositories[0].Path, nil)
	_, err = rebuild.Update(db, []*repository.Repository{repo})
	must(t, err)
	must(t, db.Close())
	w.start()
	got, err := w.agent.Backup(full.ID)
	if must(t, err); got.VM.UUID != "4210-old" || got.Runs[0].CopiedWhy != "full backup" || got.Runs[0].Order != 1 {
		t.Errorf("%+v", got)
	}
	if vm, err := w.agent.VM("vm"); err != nil || vm.UUID != "4210-old" {
		t.Errorf("%+v, %v", vm, err)
	}
	vm.UUID = "4210-new"
	_, err = w.agent.PutVM(vm)
	must(t, err)
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
	wantError(t, err, agent.NoParent, "the VM has the uuid 4210-new, and the backup is of the VM with the uuid 4210-old")
}
