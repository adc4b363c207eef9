// Package inventory keeps the records of VMs, and brings them up to date from vCenter by way of the SNA. It starts no backup.
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

// Parts are what an Inventory works with.
type Parts struct {
	Config  *config.Config
	Store   *store.Store
	SNA     *sna.Client
	Log     *slog.Logger
	Metrics *metrics.Counters
}

// An Inventory is the VMs on record. Its methods may be called from any goroutine.
type Inventory struct{ Parts }

// New returns an Inventory.
func New(p Parts) *Inventory { return &Inventory{p} }

// Put puts a VM on record, or replaces the record of that name. A backup that runs goes on with what it began with.
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

// Check says what PutVM would do with a VM, and does nothing: refuse it, make a record, replace one, or put in its place
// what is there already.
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
	vm.AddedAt = old.AddedAt // nobody puts it there but the agent, and it stays
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

// Get returns the record of a VM.
func (inv *Inventory) Get(name string) (record.VM, error) {
	vm, err := inv.Store.VM(name)
	return vm, ledger.NotFound(err)
}

// List lists records by name, after the name given; next is where the following page begins, "" at the end.
func (inv *Inventory) List(after string, limit int) (vms []record.VM, next string, err error) {
	if limit, err = ledger.PageSize(limit); err != nil {
		return nil, "", err
	}
	vms, next, err = inv.Store.VMs(after, limit)
	return vms, next, ledger.NotFound(err)
}

// Remove removes the record of a VM that has no active backup. Its backups stay.
func (inv *Inventory) Remove(name string) error {
	err := inv.Store.RemoveVM(name)
	var active *store.ActiveError
	if errors.As(err, &active) {
		e := fault.New(fault.BackupInProgress, "vm %q has backup %s, which is %s", name, active.BackupID, active.State)
		e.BackupID, e.Hint = active.BackupID, "wait until it ends, or cancel it"
		return e
	}
	return ledger.NotFound(err)
}
