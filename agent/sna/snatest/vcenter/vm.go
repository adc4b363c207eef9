package vcenter

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// VM is one virtual machine of the simulated vCenter.
type VM struct {
	// ID is config.uuid, which clones may share; made of the path when empty.
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Path  string `json:"path"`  // inventory path, such as "/DC1/vm/pgtest1"
	Disks []Disk `json:"disks"` // in the order of the VM's hardware
}

// Disk is one virtual disk; SBC copies the disks in the order of VM.Disks.
type Disk struct {
	Key        int    `json:"key"` // VirtualDisk.Key, such as 2000
	Label      string `json:"label,omitempty"`
	UnitNumber int    `json:"unit_number"`
	// CapacityBytes is the disk's size; the size of the source when 0. Beyond the
	// end of a shorter source the disk reads as zeroes.
	CapacityBytes int64  `json:"capacity_bytes,omitempty"`
	Source        string `json:"source"` // a raw file or block device
	Datastore     string `json:"datastore,omitempty"`
	// FileBytes is the size of its files on the datastore, by which SBC counts;
	// what the source has allocated when 0.
	FileBytes int64 `json:"file_bytes,omitempty"`
	// NoChangeID is a disk that cannot be tracked: SBC ends when it comes to it.
	NoChangeID bool `json:"no_change_id,omitempty"`
	// UUID is that of the disk's change ids: another one at the same key is another disk. When empty, each key of a VM has one of
	// its own from its first snapshot on.
	UUID string `json:"uuid,omitempty"`
}

// complete checks a VM and fills in optional fields.
func (vm VM) complete() (VM, error) {
	if !strings.HasPrefix(vm.Path, "/") {
		return vm, fmt.Errorf("vm %q: path must be an inventory path, such as /DC1/vm/pgtest1", vm.Path)
	}
	if vm.Name == "" {
		vm.Name = LastSegment(vm.Path)
	}
	if vm.ID == "" {
		sum := sha256.Sum256([]byte(vm.Path))
		vm.ID = fmt.Sprintf("42%x-%x-%x-%x-%x", sum[:3], sum[3:5], sum[5:7], sum[7:9], sum[9:15])
	}
	disks := make([]Disk, 0, len(vm.Disks))
	for i, disk := range vm.Disks {
		disk, err := disk.complete(i)
		if err != nil {
			return vm, fmt.Errorf("vm %s: disk %d: %w", vm.Path, i, err)
		}
		disks = append(disks, disk)
	}
	vm.Disks = disks
	return vm, nil
}

func (d Disk) complete(index int) (Disk, error) {
	if d.Key < 0 || d.CapacityBytes < 0 || d.FileBytes < 0 {
		return d, errors.New("key, capacity and file size must not be negative")
	}
	size, err := sourceSize(d.Source)
	if err != nil {
		return d, err
	}
	if d.CapacityBytes == 0 {
		d.CapacityBytes = size
	}
	if size > d.CapacityBytes {
		return d, fmt.Errorf("source %s holds %d bytes, more than the capacity of %d", d.Source, size, d.CapacityBytes)
	}
	if d.Label == "" {
		d.Label = fmt.Sprintf("Hard disk %d", index+1)
	}
	if d.Datastore == "" {
		d.Datastore = "datastore1"
	}
	return d, nil
}

// LastSegment is the last part of an inventory path: the name of a VM.
func LastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
