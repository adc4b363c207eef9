// Package vcenter simulates a vCenter: VMs whose disks are files, snapshots of all disks at one instant, changed block tracking, and
// the way in which govmomi finds a VM by a path. It speaks no vSphere API: the simulated client calls it.
package vcenter

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Options say how a vCenter takes snapshots.
type Options struct {
	Dir              string                            // of the snapshots, which have no names there
	ReadInPlace      bool                              // read the sources themselves instead of a copy
	NoChangeTracking bool                              // no later run can be incremental
	Quiesce          func(vmPath string) (thaw func()) // is called before a snapshot is taken, thaw after
}

// A VCenter has VMs, takes snapshots of them, and tells what has changed since one. Its methods may be called from any goroutine.
type VCenter struct {
	options   Options
	snapshots snapshots
	changes   changes

	mu  sync.Mutex
	vms []VM
}

// New makes an empty vCenter.
func New(options Options) *VCenter { return &VCenter{options: options} }

// SetVM adds a VM, or replaces the one with the same path.
func (v *VCenter) SetVM(vm VM) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	vm, err := vm.complete()
	if err != nil {
		return err
	}
	v.vms = slices.DeleteFunc(v.vms, func(other VM) bool { return other.Path == vm.Path })
	v.vms = append(v.vms, vm)
	return nil
}

// RemoveVM takes a VM out. A snapshot that exists stays.
func (v *VCenter) RemoveVM(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.vms = slices.DeleteFunc(v.vms, func(vm VM) bool { return vm.Path == path })
}

// VMs lists the VMs.
func (v *VCenter) VMs() []VM {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.vms)
}

// Find looks a VM up by its path, which is a pattern, or by its name when there is no path.
func (v *VCenter) Find(path, name string) (VM, error) {
	if path != "" {
		return find(v.VMs(), path)
	}
	for _, vm := range v.VMs() {
		if vm.Name == name {
			return vm, nil
		}
	}
	return VM{}, fmt.Errorf("vm '%s' %w", name, errNoSuchVM)
}

// At is the VM with a path.
func (v *VCenter) At(path string) (VM, bool) {
	for _, vm := range v.VMs() {
		if vm.Path == path {
			return vm, true
		}
	}
	return VM{}, false
}

// TakeSnapshot takes a snapshot of all disks of a VM. No writer that follows Quiesce, or locks the sources, writes while they are copied.
func (v *VCenter) TakeSnapshot(ctx context.Context, vm VM, name, jobID string) (*Snapshot, error) {
	thaw := v.options.Quiesce(vm.Path)
	defer thaw()
	unlock, err := lockSources(ctx, vm.Disks)
	if err != nil {
		return nil, err
	}
	defer unlock()

	taken := &Snapshot{Name: name, VM: vm.Path, JobID: jobID}
	taken.Gone, taken.drop = context.WithCancelCause(context.Background())
	for _, disk := range vm.Disks {
		file, err := v.copySource(disk)
		if err != nil {
			taken.close()
			return nil, fmt.Errorf("snapshot of %s: disk %d: %w", vm.Path, disk.Key, err)
		}
		taken.Disks = append(taken.Disks, SnapshotDisk{Disk: disk, File: file})
		if err := taken.count(disk, file); err != nil {
			taken.close()
			return nil, err
		}
	}
	v.snapshots.add(taken, vm, !v.options.NoChangeTracking)
	return taken, nil
}

// RemoveSnapshots removes every snapshot of a VM whose name has a prefix, and returns their names.
func (v *VCenter) RemoveSnapshots(vmPath, prefix string) []string {
	return v.snapshots.removeOf(vmPath, prefix)
}

// RemoveSnapshot removes one.
func (v *VCenter) RemoveSnapshot(one *Snapshot) { v.snapshots.remove(one) }

// Close removes every snapshot.
func (v *VCenter) Close() { v.snapshots.removeAll() }

// Snapshots lists the snapshots that exist.
func (v *VCenter) Snapshots() []SnapshotState { return v.snapshots.states() }

// Track reads the disk of a snapshot, and remembers what it holds under its change id. Without change tracking it does nothing.
func (v *VCenter) Track(ctx context.Context, d SnapshotDisk) (Generation, error) {
	if v.options.NoChangeTracking {
		return Generation{}, nil
	}
	now, err := digests(ctx, d.File, d.CapacityBytes)
	if err != nil {
		return nil, err
	}
	v.changes.remember(d.ChangeID, now)
	return now, nil
}

// Changed lists the parts of a disk that have changed since a change id was given.
func (v *VCenter) Changed(since string, d SnapshotDisk, now Generation) ([]Extent, error) {
	return v.changes.since(since, d.ChangeID, now, d.CapacityBytes)
}
