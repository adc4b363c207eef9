// Package inventory keeps the records of VMs, and updates them from vCenter by way of the SNA. It starts no backup.
package inventory

import (
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what an Inventory uses.
type Parts struct {
	Config  *config.Config
	Store   *store.Store
	SNA     *sna.Client
	Log     *slog.Logger
	Metrics *metrics.Counters
}

// An Inventory is the set of VMs on record. Its methods may be called from any goroutine.
type Inventory struct {
	Parts
	syncs syncs
}

// New returns an Inventory.
func New(p Parts) *Inventory { return &Inventory{Parts: p, syncs: syncs{last: map[string]time.Time{}}} }

// Put puts a VM on record, or replaces the record of that name. A running backup keeps the record that it started with.
func (inv *Inventory) Put(vm record.VM) (created bool, err error) {
	if err := inv.validVM(vm); err != nil {
		return false, err
	}
	vm.AddedAt = time.Now().UTC()
	created, err = inv.Store.PutVM(vm)
	if err != nil {
		return false, ledger.NotFound(err)
	}
	return created, nil
}

// Check reports what Put would do with a VM, and changes nothing. Put would refuse it (err), create a record (created), or replace one,
// perhaps with the same content (unchanged).
func (inv *Inventory) Check(vm record.VM) (created, unchanged bool, err error) {
	if err := inv.validVM(vm); err != nil {
		return false, false, err
	}
	old, err := inv.Store.VM(vm.Name)
	var missing *store.NotFoundError
	switch {
	case errors.As(err, &missing):
		return true, false, nil
	case err != nil:
		return false, false, fault.From(err)
	}
	vm.AddedAt = old.AddedAt // set by the agent, not by the caller
	return false, reflect.DeepEqual(old, vm), nil
}

func (inv *Inventory) validVM(vm record.VM) error {
	if err := vm.Validate(); err != nil {
		return fault.New(fault.InvalidRequest, "%w", err)
	}
	if err := sna.CheckVMPath(vm.InventoryPath); err != nil {
		return fault.New(fault.InvalidRequest, "vm %q: inventory path %s: %w", vm.Name, vm.InventoryPath, err)
	}
	if vm.VCenter != "" {
		if _, ok := inv.Config.VCenters[vm.VCenter]; !ok {
			return inv.vcenterUnknown(vm.VCenter)
		}
	}
	return nil
}

// Get returns the record of a VM. It fails with reason VMNotFound.
func (inv *Inventory) Get(name string) (record.VM, error) {
	vm, err := inv.Store.VM(name)
	return vm, ledger.NotFound(err)
}

// List lists up to limit records by name, after the given name. limit is 1 to 1000; 0 = 100. next starts the following page; "" at the
// end.
func (inv *Inventory) List(after string, limit int) (vms []record.VM, next string, err error) {
	if limit, err = ledger.PageSize(limit); err != nil {
		return nil, "", err
	}
	vms, next, err = inv.Store.VMs(after, limit)
	return vms, next, ledger.NotFound(err)
}

// Remove removes the record of a VM. It fails with reason BackupInProgress if the VM has an active backup. Its restore points stay.
func (inv *Inventory) Remove(name string) error {
	err := inv.Store.RemoveVM(name)
	var active *store.ActiveError
	if errors.As(err, &active) {
		return fault.New(fault.BackupInProgress, "vm %q has backup %s, which is %s", name, active.BackupID, active.State).OfBackup(active.BackupID).
			WithHint("wait until it ends, or cancel it")
	}
	return ledger.NotFound(err)
}
