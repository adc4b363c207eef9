package describe

import (
	"github.com/sendense/backup-agent/rpc"
)

// TotalBytes is the size of all disks of a VM.
func TotalBytes(vm rpc.VM) int64 {
	var sum int64
	for _, d := range vm.Disks {
		sum += d.CapacityBytes
	}
	return sum
}
