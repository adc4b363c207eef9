package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// putVM registers a VM with n sparse disks of the size with both sides.
func (h *hub) putVM(ctx context.Context, name string, n int, size int64) error {
	vm := rpc.VM{VMName: name, InventoryPath: "/DC1/vm/" + name}
	simulated := snatest.VM{Name: name, Path: vm.InventoryPath}
	for i := range n {
		source := filepath.Join(h.dir, name+"-"+strconv.Itoa(i)+".raw")
		if err := sparse(source, size); err != nil {
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
	if err := h.control("vm", nil, simulated); err != nil {
		return err
	}
	_, err := h.client.PutVM(ctx, vm)
	return err
}

func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}
