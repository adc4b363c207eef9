package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
)

// DiscoverRequest asks the SNA for the VMs of a vCenter.
type DiscoverRequest struct {
	VCenter string // a vCenter name of the configuration
	Filter  string // the SNA's name filter; "" = all
	Store   bool   // put every VM found on record
}

// DiscoveredVM is a VM that the SNA reported, and whether it was put on record.
type DiscoveredVM struct {
	VM     record.VM
	Stored bool
	Error  string // why the VM was not stored or cannot be backed up; "" = no error
}

// Refreshed is a VM that is about to be backed up.
type Refreshed struct {
	record.VM
	RefreshError string // why the disks on record are used instead of those in vCenter; "" = the lookup succeeded or was not needed
}

// Fresh returns the record of a VM. If the record asks for it, Fresh first updates the disks from vCenter by way of the SNA. If that
// fails, it returns the disks on record with RefreshError, or an error if the record requires the update.
func (inv *Inventory) Fresh(ctx context.Context, name string) (Refreshed, error) {
	vm, err := inv.Get(name)
	if err != nil || vm.Refresh == record.NoRefresh {
		return Refreshed{VM: vm}, err
	}
	fresh, err := inv.rediscover(ctx, vm)
	if err == nil {
		return Refreshed{VM: fresh}, nil
	}
	inv.Metrics.RefreshFailures.Inc()
	if vm.Refresh == record.RequireRefresh {
		e := fault.From(err)
		e.Message = fmt.Sprintf("vm %q: its disks cannot be looked up, which its record requires: %s", name, e.Message)
		return Refreshed{VM: vm}, e
	}
	inv.Log.Warn("disks cannot be looked up; the disks on record are backed up", logkey.VM, name, logkey.Error, err)
	return Refreshed{vm, err.Error()}, nil
}

// rediscover looks up one VM by its inventory path and puts its disks on record.
func (inv *Inventory) rediscover(ctx context.Context, vm record.VM) (record.VM, error) {
	found, err := inv.lookUp(ctx, vm)
	switch {
	case err != nil:
		return vm, err
	case found.Error != "":
		return vm, fault.New(fault.InvalidRequest, "%s", found.Error)
	}
	vm.Disks, vm.UUID = found.VM.Disks, cmp.Or(found.VM.UUID, vm.UUID)
	_, err = inv.Put(vm)
	return vm, err
}

// lookUp finds a VM by its inventory path. The SNA filters by name: it looks for the last segment of the path. With a filter it may
// report another path for the VM (contract §4). So if the VM is not found, lookUp searches the whole inventory.
func (inv *Inventory) lookUp(ctx context.Context, vm record.VM) (DiscoveredVM, error) {
	filters := []string{""}
	if name := record.ClientName(vm); !strings.Contains(name, ",") && strings.TrimSpace(name) == name { // the SNA splits and trims it
		filters = []string{name, ""}
	}
	for _, filter := range filters {
		found, err := inv.Discover(ctx, DiscoverRequest{VCenter: vm.VCenter, Filter: filter})
		if err != nil {
			return DiscoveredVM{}, err
		}
		for _, f := range found {
			if f.VM.Same(vm) {
				return f, nil
			}
		}
	}
	return DiscoveredVM{}, fault.New(fault.VMNotFound, "vCenter %s has no VM with the inventory path %s", vm.VCenter, vm.InventoryPath).
		WithHint("vm.discover lists the VMs of the vCenter with their paths. Correct the record with vm.put, or remove it with vm.remove if " +
			"the VM no longer exists. Discovery searches one datacenter only: see datacenter in the configuration")
}

// Discover asks the SNA for the VMs of a vCenter, and puts them on record if the request says so.
func (inv *Inventory) Discover(ctx context.Context, r DiscoverRequest) ([]DiscoveredVM, error) {
	if r.VCenter == "" {
		return nil, fault.New(fault.InvalidRequest, "vcenter is missing: %s", inv.vcenterNames())
	}
	vc, err := inv.Login(r.VCenter)
	if err == nil && vc.Datacenter == "" {
		err = fault.New(fault.NotConfigured, "vcenter %q: datacenter is empty, so discovery does not know where to search", r.VCenter).
			WithHint("set datacenter in [vcenter." + r.VCenter + "] of the configuration, then restart the daemon")
	}
	if err != nil {
		return nil, err
	}
	found, err := inv.SNA.Discover(ctx, sna.DiscoverRequest{
		VCenter: vc.Host, Username: vc.User, Password: vc.Password, Datacenter: vc.Datacenter, Filter: r.Filter,
	})
	if err != nil {
		return nil, discoverError(err)
	}
	vms := make([]DiscoveredVM, len(found))
	for i, f := range found {
		vms[i] = inv.discovered(r, f)
	}
	return vms, nil
}

// discovered makes a record of a VM that the SNA reported. If it cannot be one, Error says why; the VM is not dropped.
func (inv *Inventory) discovered(r DiscoverRequest, f sna.DiscoveredVM) DiscoveredVM {
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
	old, err := inv.Store.VM(f.Name)
	switch {
	case err == nil && old.VCenter != "" && old.VCenter != r.VCenter:
		d.Error = fmt.Sprintf("vm %q is on record with the vcenter %s: remove that record first if it is the same VM", f.Name, old.VCenter)
		return d
	case err == nil && old.InventoryPath != "" && path.Clean(old.InventoryPath) != path.Clean(f.Path):
		d.Error = fmt.Sprintf("vm %q is on record with the inventory path %s: remove that record first if it is the same VM", f.Name, old.InventoryPath)
		return d
	case err == nil:
		d.VM.ContextID, d.VM.Refresh, d.VM.BackupInterval = cmp.Or(old.ContextID, f.ID), cmp.Or(old.Refresh, d.VM.Refresh), old.BackupInterval
		d.VM.Tags = old.Tags
	}
	if _, err := inv.Put(d.VM); err != nil {
		d.Error = err.Error()
		return d
	}
	d.Stored = true
	return d
}

func discoverError(err error) error {
	var refused *sna.RefusedError
	if errors.As(err, &refused) {
		return fault.New(fault.SNARefused, "discovery: %w", err).
			WithHint("the SNA's own words are above. The usual causes: a wrong user or password of the vCenter, a datacenter that does not " +
				"exist or has no VM, or a vCenter that the SNA cannot reach. Check the [vcenter] table of the configuration and the SNA's log")
	}
	var invalid *sna.InvalidRequestError
	if errors.As(err, &invalid) {
		return fault.New(fault.NotConfigured, "discovery: %w", err).
			WithHint("correct the [vcenter] table of the configuration, then restart the daemon")
	}
	return fault.New(fault.SNAUnreachable, "discovery: %w", err).
		WithHint("check the tunnel and sna.url. A large vCenter may need a longer sna.discover_timeout")
}

// login is what the SNA needs to log in to a vCenter.
type login struct{ Host, User, Password, Datacenter string }

// Login returns the login of a configured vCenter. It reads the password from its credential each time.
func (inv *Inventory) Login(name string) (login, error) {
	vc, ok := inv.Config.VCenters[name]
	if !ok {
		return login{}, inv.vcenterUnknown(name)
	}
	password, err := inv.Config.VCenterPassword(name)
	if err != nil {
		missing := new(config.CredentialError)
		errors.As(err, &missing)
		return login{}, fault.New(fault.PasswordMissing, "%w", err).WithHint(missing.Hint)
	}
	return login{Host: vc.Host, User: vc.User, Password: password, Datacenter: vc.Datacenter}, nil
}

func (inv *Inventory) vcenterUnknown(name string) error {
	return fault.New(fault.InvalidRequest, "vcenter %q is not configured: %s", name, inv.vcenterNames())
}

// vcenterNames returns the configured vCenter names, as the end of an error message.
func (inv *Inventory) vcenterNames() string {
	if len(inv.Config.VCenters) == 0 {
		return "the configuration has no vCenters: add a [vcenter.NAME] table"
	}
	return "want one of the configured names: " + strings.Join(slices.Sorted(maps.Keys(inv.Config.VCenters)), ", ")
}
