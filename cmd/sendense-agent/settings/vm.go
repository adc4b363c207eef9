package settings

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

func recordOf(w rpc.VM) record.VM {
	vm := record.VM{
		Name: w.VMName, ContextID: w.VMContextID, InventoryPath: w.InventoryPath, VCenter: w.VCenter, UUID: w.UUID,
		Refresh: record.Refresh(w.Refresh), Tags: w.Tags, BackupInterval: record.Interval(w.BackupInterval),
	}
	for _, d := range w.Disks {
		vm.Disks = append(vm.Disks, record.Disk{
			ID: d.DiskID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: d.CapacityBytes, Label: d.Label,
		})
	}
	return vm
}

func wireOf(vm record.VM) rpc.VM {
	w := rpc.VM{
		VMName: vm.Name, VMContextID: vm.ContextID, InventoryPath: vm.InventoryPath, VCenter: vm.VCenter, UUID: vm.UUID,
		Refresh: string(vm.Refresh), Tags: vm.Tags, BackupInterval: string(vm.BackupInterval),
	}
	for _, d := range vm.Disks {
		w.Disks = append(w.Disks, rpc.Disk{
			DiskID: d.ID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: d.CapacityBytes, Label: d.Label,
		})
	}
	return w
}
