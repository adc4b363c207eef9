package hub

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"strconv"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/rpc"
)

// Source is the path of a disk of a VM.
func (h *Hub) Source(vm string, disk int) string {
	return filepath.Join(h.Dir, vm+"-"+strconv.Itoa(disk)+".raw")
}

// ResetTracking resets the change tracking of all disks of a VM, so that the next backup copies them whole.
func (h *Hub) ResetTracking(vm string) error {
	simulated := h.vms[vm]
	for i := range simulated.Disks {
		simulated.Disks[i].UUID = rand.Text()
	}
	return h.Control("vm", nil, simulated)
}

// PutVM registers a VM with n sparse disks with the simulated SNA and with the daemon.
func (h *Hub) PutVM(ctx context.Context, name string, n int, size int64) error {
	vm := rpc.VM{VMName: name, InventoryPath: "/DC1/vm/" + name}
	simulated := snatest.VM{Name: name, Path: vm.InventoryPath}
	defer func() { h.vms[name] = simulated }()
	for i := range n {
		source := h.Source(name, i)
		if err := rawdisk.Sparse(source, size); err != nil {
			return err
		}
		unit := i % 15 // 7 is the controller itself
		if unit >= 7 {
			unit++
		}
		key := 2000 + 16*(i/15) + unit
		vm.Disks = append(vm.Disks, rpc.Disk{DiskID: i, UnitNumber: unit, DeviceKey: key, CapacityBytes: size})
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: key, UnitNumber: unit, Source: source})
	}
	if err := h.Control("vm", nil, simulated); err != nil {
		return err
	}
	_, err := h.Client.PutVM(ctx, vm)
	return err
}
