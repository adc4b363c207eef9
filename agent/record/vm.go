package record

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what a VM record may hold. They bound the size of one record and of one targets string.
const (
	MaxNameBytes = 255     // longest VM name, label or inventory path segment, in bytes
	MaxPathBytes = 4096    // longest inventory path, in bytes
	MaxTags      = 32      // most tags of one VM
	MaxTagBytes  = 64      // longest tag, in bytes
	MaxDisks     = 256     // most disks of one VM: 4 SCSI controllers of 64 disks
	SectorBytes  = 512     // VMware capacities are whole sectors; qcow2 rounds to them
	MaxDiskBytes = 1 << 46 // 64 TiB, the largest VMDK
)

// A VM is one virtual machine as the hub knows it: what the SNA needs in order to find it, and its disks.
type VM struct {
	Name          string `json:"name"`           // unique key of the record
	ContextID     string `json:"context_id"`     // the hub's own identifier, passed on unread
	InventoryPath string `json:"inventory_path"` // vCenter inventory path, e.g. /DC1/vm/pgtest1
	VCenter       string `json:"vcenter"`        // name of a [vcenter.NAME] table of the configuration; "" = none
	Disks         []Disk `json:"disks"`

	// UUID is vCenter's config.uuid, as discovery reports it; "" = unknown. Clones may share it, so it can prove that two VMs
	// differ, but not that they are the same.
	UUID string `json:"uuid,omitempty"`

	// Refresh says whether the SNA is asked for the VM's disks right before each backup.
	Refresh Refresh `json:"refresh,omitempty"`

	// Tags are words by which groups choose VMs, each once.
	Tags []string `json:"tags,omitempty"`

	BackupInterval Interval  `json:"backup_interval,omitempty"` // how often a restore point is expected
	AddedAt        time.Time `json:"added_at,omitzero"`         // when the record was made; zero = unknown

	MissingSince time.Time `json:"missing_since,omitzero"` // since when vCenter does not list it any more; zero = it does, or was not asked
}

// Interval is a time between backups as a person writes it, such as "26h". "" is the interval of the configuration, and "0s"
// says that no backups are expected.
type Interval string

// Bounds of an Interval that is not 0.
const (
	MinInterval = time.Minute
	MaxInterval = 10 * 365 * 24 * time.Hour
)

// Or is the interval, or the configured one if it is "".
func (i Interval) Or(configured time.Duration) time.Duration {
	if d, err := time.ParseDuration(string(i)); err == nil {
		return d
	}
	return configured
}

func (i Interval) validate() error {
	if i == "" {
		return nil
	}
	d, err := time.ParseDuration(string(i))
	if err != nil || d != 0 && (d < MinInterval || d > MaxInterval) {
		return fmt.Errorf(`backup interval %q: want a duration from 1m to ten years, such as "26h", or "0s" for none`, string(i))
	}
	return nil
}

// Same says whether two records are of one VM, whatever their names. The names are given by the hub; the inventory path tells
// which VM it is.
func (vm VM) Same(other VM) bool {
	return vm.InventoryPath != "" && other.InventoryPath != "" &&
		vm.VCenter == other.VCenter && path.Clean(vm.InventoryPath) == path.Clean(other.InventoryPath)
}

// Differs says how two records show that they are of different VMs, whatever their names; "" if they do not. It compares
// vCenter, inventory path and UUID where both are known. Restore points of older agents have no UUID.
func (vm VM) Differs(other VM) string {
	clean := func(p string) string {
		if p == "" {
			return ""
		}
		return path.Clean(p)
	}
	for _, f := range []struct{ what, this, other string }{
		{"vCenter", vm.VCenter, other.VCenter},
		{"inventory path", clean(vm.InventoryPath), clean(other.InventoryPath)},
		{"uuid", strings.ToLower(vm.UUID), strings.ToLower(other.UUID)},
	} {
		if f.this != "" && f.other != "" && f.this != f.other {
			return fmt.Sprintf("the VM has the %s %s, and the backup is of the VM with the %s %s", f.what, f.this, f.what, f.other)
		}
	}
	return ""
}

// Refresh is a policy for disks that may have been added, removed or grown since they were put on record.
type Refresh string

// The policies.
const (
	NoRefresh      Refresh = ""        // the record is right
	PreferRefresh  Refresh = "prefer"  // ask; if that fails, back up what is on record
	RequireRefresh Refresh = "require" // ask; if that fails, refuse the backup
)

// A Disk is one virtual disk of a VM.
type Disk struct {
	ID            int    `json:"disk_id"`              // index of the disk within the VM, from 0; names the export
	UnitNumber    int    `json:"unit_number"`          // unit on its controller, from 0
	DeviceKey     int    `json:"device_key,omitempty"` // VMware's VirtualDisk.Key; 0 = not reported
	CapacityBytes int64  `json:"capacity_bytes"`       // present size; a multiple of SectorBytes
	Label         string `json:"label,omitempty"`      // VMware's label, e.g. "Hard disk 1"
}

// firstSCSIKey is the VirtualDisk.Key of unit 0 on the first SCSI controller.
const firstSCSIKey = 2000

// Key is the disk key by which SBC matches an NBD target to a disk of the snapshot: the key that VMware reported, or
// for a disk with no reported key 2000 + unit number, which is right only on the first SCSI controller.
func (d Disk) Key() int {
	if d.DeviceKey != 0 {
		return d.DeviceKey
	}
	return firstSCSIKey + d.UnitNumber
}

// ErrNoDisks says that a VM has no disk on record: there is nothing to back up.
var ErrNoDisks = errors.New("VM has no disks: run discovery first")

// Validate says why the VM cannot be stored; nil if it can. A VM without disks is valid: it may be registered before it is
// discovered.
func (vm VM) Validate() error {
	if err := ValidName("vm name", vm.Name); err != nil {
		return err
	}
	if len(vm.InventoryPath) > MaxPathBytes || !printable(vm.InventoryPath) {
		return fmt.Errorf("vm %q: inventory path: want printable text of at most %d bytes", vm.Name, MaxPathBytes)
	}
	for segment := range strings.SplitSeq(vm.InventoryPath, "/") {
		if segment == "." || segment == ".." { // contract §4: SBC takes it for a path element of a file system
			return fmt.Errorf("vm %q: inventory path %s: the backup client cannot find a folder or VM called %q: "+
				"give the VM or its folder another name in vCenter", vm.Name, vm.InventoryPath, segment)
		}
	}
	for _, f := range []struct{ what, text string }{{"context id", vm.ContextID}, {"vcenter", vm.VCenter}, {"uuid", vm.UUID}} {
		if len(f.text) > MaxNameBytes || !printable(f.text) {
			return fmt.Errorf("vm %q: %s: want printable text of at most %d bytes", vm.Name, f.what, MaxNameBytes)
		}
	}
	if vm.Refresh != NoRefresh && vm.Refresh != PreferRefresh && vm.Refresh != RequireRefresh {
		return fmt.Errorf("vm %q: refresh %q: want prefer, require or nothing", vm.Name, vm.Refresh)
	}
	if vm.Refresh != NoRefresh && vm.VCenter == "" {
		return fmt.Errorf("vm %q: refresh %s: want a vcenter to ask", vm.Name, vm.Refresh)
	}
	if err := vm.BackupInterval.validate(); err != nil {
		return fmt.Errorf("vm %q: %w", vm.Name, err)
	}
	if err := validTags(vm.Tags); err != nil {
		return fmt.Errorf("vm %q: %w", vm.Name, err)
	}
	if len(vm.Disks) > MaxDisks {
		return fmt.Errorf("vm %q: %d disks, the limit is %d", vm.Name, len(vm.Disks), MaxDisks)
	}
	return vm.validDisks()
}

func validTags(tags []string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%d tags, the limit is %d", len(tags), MaxTags)
	}
	for i, tag := range tags {
		if tag == "" || len(tag) > MaxTagBytes || !printable(tag) || strings.ContainsAny(tag, " ,;") {
			return fmt.Errorf("tag %q: want 1 to %d bytes of printable text without spaces, commas and semicolons", tag, MaxTagBytes)
		}
		if slices.Contains(tags[:i], tag) {
			return fmt.Errorf("tag %q is given twice: give each tag once", tag)
		}
	}
	return nil
}

func (vm VM) validDisks() error {
	ids, keys := map[int]bool{}, map[int]int{}
	for _, d := range vm.Disks {
		if err := d.validate(); err != nil {
			return fmt.Errorf("vm %q: disk %d: %w", vm.Name, d.ID, err)
		}
		if ids[d.ID] {
			return fmt.Errorf("vm %q: two disks have the disk_id %d", vm.Name, d.ID)
		}
		ids[d.ID] = true
		if other, ok := keys[d.Key()]; ok {
			return fmt.Errorf("vm %q: disks %d and %d both have the disk key %d, so one would be written into the other's image: "+
				"set device_key of each to the VirtualDisk.Key that vCenter reports (vm.discover does)", vm.Name, other, d.ID, d.Key())
		}
		keys[d.Key()] = d.ID
	}
	return nil
}

func (d Disk) validate() error {
	switch {
	case d.ID < 0 || d.ID >= 1000:
		return errors.New("disk_id: want 0 to 999")
	case d.UnitNumber < 0 || d.UnitNumber > 1000:
		return fmt.Errorf("unit_number %d: want 0 to 1000", d.UnitNumber)
	case d.DeviceKey < 0 || d.DeviceKey > 1<<31-1:
		return fmt.Errorf("device_key %d: want VMware's VirtualDisk.Key, a positive 32-bit number", d.DeviceKey)
	case d.CapacityBytes <= 0 || d.CapacityBytes > MaxDiskBytes:
		return fmt.Errorf("capacity_bytes %d: want 1 sector to 64 TiB", d.CapacityBytes)
	case d.CapacityBytes%SectorBytes != 0:
		return fmt.Errorf("capacity_bytes %d: want a multiple of %d", d.CapacityBytes, SectorBytes)
	case len(d.Label) > MaxNameBytes || !printable(d.Label):
		return fmt.Errorf("label: want printable text of at most %d bytes", MaxNameBytes)
	}
	return nil
}

// TotalBytes is the sum of the capacities of the VM's disks.
func (vm VM) TotalBytes() int64 {
	var sum int64
	for _, d := range vm.Disks {
		sum += d.CapacityBytes
	}
	return sum
}

// ValidName checks a name from a person: not empty, of bounded length, and printable, so that it fits in a log line and on a
// terminal. Every other character is allowed. What must be safe in a path or a URL is derived from the name.
func ValidName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is missing", what)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("%s is %d bytes long, the limit is %d", what, len(name), MaxNameBytes)
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("%s is blank", what)
	case !printable(name):
		return fmt.Errorf("%s %q: want valid UTF-8 without control characters", what, name)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
