package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/store"
)

// PutVM puts a VM on record, or replaces the record of that name. A backup that runs goes on with what it began with.
func (a *Agent) PutVM(vm record.VM) (created bool, err error) {
	if err := a.validVM(vm); err != nil {
		return false, err
	}
	vm.AddedAt = time.Now().UTC()
	created, err = a.store.PutVM(vm)
	if err != nil {
		return false, notFound(err)
	}
	return created, nil
}

// CheckVM says what PutVM would do with a VM, and does nothing: refuse it, make a record, replace one, or put in its place
// what is there already.
func (a *Agent) CheckVM(vm record.VM) (created, unchanged bool, err error) {
	if err := a.validVM(vm); err != nil {
		return false, false, err
	}
	old, err := a.store.VM(vm.Name)
	var missing *store.NotFoundError
	switch {
	case errors.As(err, &missing):
		return true, false, nil
	case err != nil:
		return false, false, AsError(err)
	}
	vm.AddedAt = old.AddedAt // nobody puts it there but the agent, and it stays
	return false, reflect.DeepEqual(old, vm), nil
}

func (a *Agent) validVM(vm record.VM) error {
	if err := vm.Validate(); err != nil {
		return errorf(InvalidRequest, "%w", err)
	}
	if err := sna.CheckVMPath(vm.InventoryPath); err != nil {
		return errorf(InvalidRequest, "vm %q: inventory path %s: %w", vm.Name, vm.InventoryPath, err)
	}
	if vm.VCenter != "" {
		if _, ok := a.config.VCenters[vm.VCenter]; !ok {
			return a.vcenterUnknown(vm.VCenter)
		}
	}
	return nil
}

// VM returns the record of a VM.
func (a *Agent) VM(name string) (record.VM, error) {
	vm, err := a.store.VM(name)
	return vm, notFound(err)
}

// VMs lists records by name, after the name given; next is where the following page begins, "" at the end.
func (a *Agent) VMs(after string, limit int) (vms []record.VM, next string, err error) {
	if limit, err = pageSize(limit); err != nil {
		return nil, "", err
	}
	vms, next, err = a.store.VMs(after, limit)
	return vms, next, notFound(err)
}

// RemoveVM removes the record of a VM that has no active backup. Its backups stay.
func (a *Agent) RemoveVM(name string) error {
	err := a.store.RemoveVM(name)
	var active *store.ActiveError
	if errors.As(err, &active) {
		e := errorf(BackupInProgress, "vm %q has backup %s, which is %s", name, active.BackupID, active.State)
		e.BackupID, e.Hint = active.BackupID, "wait for it to end, or cancel it"
		return e
	}
	return notFound(err)
}

// vmNow is a VM that is about to be backed up.
type vmNow struct {
	record.VM
	refreshError string // why its disks could not be looked up, and are those on record; "" = they need not be, or were
}

// freshVM returns the record of a VM, brought up to date by the SNA where the record asks for that.
func (a *Agent) freshVM(ctx context.Context, name string) (vmNow, error) {
	vm, err := a.VM(name)
	if err != nil || vm.Refresh == record.NoRefresh {
		return vmNow{VM: vm}, err
	}
	fresh, err := a.rediscover(ctx, vm)
	if err == nil {
		return vmNow{VM: fresh}, nil
	}
	a.metrics.refreshFailures.Inc()
	if vm.Refresh == record.RequireRefresh {
		e := AsError(err)
		e.Message = fmt.Sprintf("vm %q: its disks cannot be looked up, and its record demands that: %s", name, e.Message)
		return vmNow{VM: vm}, e
	}
	a.log.Warn("disks cannot be looked up, those on record are backed up", logVM, name, logError, err)
	return vmNow{vm, err.Error()}, nil
}

// rediscover looks up one VM by its inventory path, and puts what it finds on record.
func (a *Agent) rediscover(ctx context.Context, vm record.VM) (record.VM, error) {
	found, err := a.lookUp(ctx, vm)
	switch {
	case err != nil:
		return vm, err
	case found.Error != "":
		return vm, errorf(InvalidRequest, "%s", found.Error)
	}
	vm.Disks, vm.UUID = found.VM.Disks, cmp.Or(found.VM.UUID, vm.UUID)
	_, err = a.PutVM(vm)
	return vm, err
}

// lookUp finds a VM by its inventory path. The SNA filters by names, in which it looks for the last segment of the path; what it
// finds in that way it may give another path (contract §4), so the whole inventory is looked through when the VM is not there.
func (a *Agent) lookUp(ctx context.Context, vm record.VM) (DiscoveredVM, error) {
	filters := []string{""}
	if name := segment(vm); !strings.Contains(name, ",") && strings.TrimSpace(name) == name { // the SNA splits and trims it
		filters = []string{name, ""}
	}
	for _, filter := range filters {
		found, err := a.DiscoverVMs(ctx, DiscoverRequest{VCenter: vm.VCenter, Filter: filter})
		if err != nil {
			return DiscoveredVM{}, err
		}
		for _, f := range found {
			if f.VM.Same(vm) {
				return f, nil
			}
		}
	}
	return DiscoveredVM{}, errorf(VMNotFound, "vCenter %s has no VM with the inventory path %s", vm.VCenter, vm.InventoryPath)
}

// DiscoverVMs asks the SNA which VMs a vCenter has, and puts them on record when asked to.
func (a *Agent) DiscoverVMs(ctx context.Context, r DiscoverRequest) ([]DiscoveredVM, error) {
	if r.VCenter == "" {
		return nil, errorf(InvalidRequest, "vcenter is missing: %s", a.vcenterNames())
	}
	vc, err := a.vcenter(r.VCenter)
	if err != nil {
		return nil, err
	}
	found, err := a.sna.Discover(ctx, sna.DiscoverRequest{
		VCenter: vc.Host, Username: vc.User, Password: vc.Password, Datacenter: vc.Datacenter, Filter: r.Filter,
	})
	if err != nil {
		return nil, discoverError(err)
	}
	vms := make([]DiscoveredVM, len(found))
	for i, f := range found {
		vms[i] = a.discovered(r, f)
	}
	return vms, nil
}

// discovered makes a record of what the SNA said of one VM. What cannot be one is told, not dropped.
func (a *Agent) discovered(r DiscoverRequest, f sna.DiscoveredVM) DiscoveredVM {
	d := DiscoveredVM{VM: record.VM{
		Name: f.Name, ContextID: f.ID, UUID: f.ID, InventoryPath: f.Path, VCenter: r.VCenter, Refresh: record.PreferRefresh,
	}}
	for i, disk := range f.Disks {
		key, err := disk.Key()
		if err != nil {
			d.Error = err.Error()
			return d
		}
		d.VM.Disks = append(d.VM.Disks, record.Disk{
			ID: i, UnitNumber: disk.UnitNumber, DeviceKey: key, CapacityBytes: disk.CapacityBytes, Label: disk.Label,
		})
	}
	if err := d.VM.Validate(); err != nil {
		d.Error = err.Error()
		return d
	}
	if !r.Store {
		return d
	}
	old, err := a.store.VM(f.Name)
	switch {
	case err == nil && old.VCenter != "" && old.VCenter != r.VCenter:
		d.Error = fmt.Sprintf("vm %q is on record with the vcenter %s: remove that record first if it is the same VM", f.Name, old.VCenter)
		return d
	case err == nil && old.InventoryPath != "" && path.Clean(old.InventoryPath) != path.Clean(f.Path):
		d.Error = fmt.Sprintf("vm %q is on record with the inventory path %s: remove that record first if it is the same VM", f.Name, old.InventoryPath)
		return d
	case err == nil:
		d.VM.ContextID, d.VM.Refresh, d.VM.BackupInterval = cmp.Or(old.ContextID, f.ID), cmp.Or(old.Refresh, d.VM.Refresh), old.BackupInterval
	}
	if _, err := a.PutVM(d.VM); err != nil {
		d.Error = err.Error()
		return d
	}
	d.Stored = true
	return d
}

func discoverError(err error) error {
	var refused *sna.RefusedError
	if errors.As(err, &refused) {
		return errorf(SNARefused, "discovery: %w", err)
	}
	e := errorf(SNAUnreachable, "discovery: %w", err)
	e.Hint = "is the tunnel up, and is sna.url right? a large vCenter may need a longer sna.discover_timeout"
	return e
}

// vcenterLogin is what the SNA needs in order to log in to a vCenter.
type vcenterLogin struct{ Host, User, Password, Datacenter string }

// vcenter returns the login of a configured vCenter; the password is read from its credential each time.
func (a *Agent) vcenter(name string) (vcenterLogin, error) {
	vc, ok := a.config.VCenters[name]
	if !ok {
		return vcenterLogin{}, a.vcenterUnknown(name)
	}
	password, err := a.config.VCenterPassword(name)
	if err != nil {
		return vcenterLogin{}, errorf(Internal, "%w", err)
	}
	return vcenterLogin{Host: vc.Host, User: vc.User, Password: password, Datacenter: vc.Datacenter}, nil
}

func (a *Agent) vcenterUnknown(name string) error {
	return errorf(InvalidRequest, "vcenter %q is not configured: %s", name, a.vcenterNames())
}

// vcenterNames says which names are wanted.
func (a *Agent) vcenterNames() string {
	if len(a.config.VCenters) == 0 {
		return "the configuration has no vCenters, add a [vcenter.NAME] table"
	}
	return "want one of the configured names: " + strings.Join(slices.Sorted(maps.Keys(a.config.VCenters)), ", ")
}
