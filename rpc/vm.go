package rpc

// VM is one virtual machine as the agent knows it. It is the parameter of vm.put and vm.check, and the result of vm.get.
type VM struct {
	VMName        string `json:"vm_name"`                  // unique; at most 255 bytes of printable text
	VMContextID   string `json:"vm_context_id,omitempty"`  // the hub's own identifier, passed through unread
	InventoryPath string `json:"inventory_path,omitempty"` // in vCenter, e.g. /DC1/vm/pgtest1
	VCenter       string `json:"vcenter,omitempty"`        // a name of the agent's configuration; "" is none
	UUID          string `json:"uuid,omitempty"`           // vCenter's config.uuid, as vm.discover reports it; "" is not known
	Disks         []Disk `json:"disks,omitempty"`          // at most 256; a VM without disks cannot be backed up

	// Refresh says whether the SNA is asked for the VM's disks right before each backup: "prefer" backs up what is on
	// record if that fails, "require" refuses then; "" never asks. It takes a vcenter.
	Refresh string `json:"refresh,omitempty" enum:"prefer,require"`

	// BackupInterval is how often a restore point is expected, for those who watch: "26h". "" is what is configured
	// (metrics.backup_interval), and "0s" says that none are expected. Nothing is started by it.
	BackupInterval string `json:"backup_interval,omitempty"`
}

// Disk is one virtual disk of a VM.
type Disk struct {
	DiskID        int    `json:"disk_id"`              // index within the VM, from 0
	UnitNumber    int    `json:"unit_number"`          // unit on its controller, from 0
	DeviceKey     int    `json:"device_key,omitempty"` // VMware's VirtualDisk.Key; 0 is not known: 2000 + unit_number
	CapacityBytes int64  `json:"capacity_bytes"`       // a multiple of 512, at most 64 TiB
	Label         string `json:"label,omitempty"`      // VMware's, e.g. "Hard disk 1"
}

// VMRef names a VM.
type VMRef struct {
	VMName string `json:"vm_name"`
}

// VMPut is the result of vm.put, and of vm.check, which tells what vm.put would do.
type VMPut struct {
	Created   bool `json:"created"`             // false: a record of that name was replaced
	Unchanged bool `json:"unchanged,omitempty"` // of vm.check: the record is so already
	VM        VM   `json:"vm"`
}

// VMQuery selects VMs, in the order of their names.
type VMQuery struct {
	Cursor string `json:"cursor,omitempty"` // NextCursor of the page before; "" is the first page
	Limit  int    `json:"limit,omitempty"`  // 1 to 1000; 0 is 100
}

// VMPage is one page of a list of VMs.
type VMPage struct {
	VMs        []VM   `json:"vms"`
	NextCursor string `json:"next_cursor,omitempty"` // "" on the last page
}

// DiscoverRequest asks the SNA which VMs a vCenter has. That takes a quarter of a minute for a hundred VMs.
type DiscoverRequest struct {
	VCenter string `json:"vcenter"`          // a name of the agent's configuration
	Filter  string `json:"filter,omitempty"` // the SNA's filter on names; "" is all
	Store   bool   `json:"store,omitempty"`  // put every VM found on record
}

// DiscoverResponse is what the SNA found.
type DiscoverResponse struct {
	VMs []DiscoveredVM `json:"vms"`
}

// DiscoveredVM is one VM that the SNA found.
type DiscoveredVM struct {
	VM     VM     `json:"vm"`
	Stored bool   `json:"stored"`
	Error  string `json:"error,omitempty"` // why it was not stored, or could not be
}
