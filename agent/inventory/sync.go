package inventory

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// syncs remembers when each vCenter was last asked for all its VMs by this agent.
type syncs struct {
	mu   sync.Mutex
	last map[string]time.Time // by vCenter, by the monotonic clock
}

// SyncIfOlder brings the records of the VMs of a vCenter up to date, unless that was done within the interval. 0 is never. Callers at the same
// time share one discovery.
func (inv *Inventory) SyncIfOlder(ctx context.Context, vcenter string, interval time.Duration) error {
	if interval == 0 {
		return nil
	}
	inv.syncs.mu.Lock()
	defer inv.syncs.mu.Unlock()
	if last, done := inv.syncs.last[vcenter]; done && time.Since(last) < interval {
		return nil
	}
	if err := inv.sync(ctx, vcenter); err != nil {
		return err
	}
	inv.syncs.last[vcenter] = time.Now()
	return nil
}

// sync puts every VM of a vCenter on record, and notes which VMs on record it does not have any more.
func (inv *Inventory) sync(ctx context.Context, vcenter string) error {
	found, err := inv.Discover(ctx, DiscoverRequest{VCenter: vcenter, Store: true})
	if err != nil {
		return err
	}
	stored := 0
	for _, f := range found {
		if f.Error != "" {
			inv.Log.Warn("a VM of the vCenter is not put on record", logkey.VM, f.VM.Name, logkey.VCenter, vcenter, logkey.Error, f.Error)
		}
		if f.Stored {
			stored++
		}
	}
	inv.Log.Info("VMs looked up", logkey.VCenter, vcenter, "found", len(found), "stored", stored)
	if len(found) == 0 {
		return nil // the SNA may not be able to list them
	}
	return inv.noteMissing(vcenter, found)
}

// noteMissing records since when a VM is missing in its vCenter. A discovery lists one datacenter, so it says nothing about the others.
func (inv *Inventory) noteMissing(vcenter string, found []DiscoveredVM) error {
	all, err := inv.All()
	if err != nil {
		return err
	}
	datacenter := path.Base(inv.Config.VCenters[vcenter].Datacenter)
	for _, vm := range all {
		before, _, inDatacenter := strings.Cut(vm.InventoryPath, "/vm/")
		if vm.VCenter != vcenter || !vm.MissingSince.IsZero() || !inDatacenter || path.Base(before) != datacenter {
			continue
		}
		if slices.ContainsFunc(found, func(f DiscoveredVM) bool { return f.VM.Name == vm.Name || f.VM.Same(vm) }) {
			continue
		}
		vm.MissingSince = time.Now().UTC()
		if _, err := inv.Store.PutVM(vm); err != nil {
			return fault.From(err)
		}
		inv.Log.Warn("vCenter does not have a VM any more: no group chooses it", logkey.VM, vm.Name, logkey.VCenter, vcenter)
	}
	return nil
}

// All returns the records of all VMs, by name.
func (inv *Inventory) All() (all []record.VM, err error) {
	for after := ""; ; {
		page, next, err := inv.Store.VMs(after, store.MaxPage)
		if err != nil {
			return nil, fault.From(err)
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		after = next
	}
}
