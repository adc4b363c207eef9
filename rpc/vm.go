package rpc

import "time"

// VM is one virtual machine on record. It is the parameter of vm.put and vm.check, and the result of vm.get.
type VM struct {
	VMName        string `json:"vm_name"`                  // unique; at most 255 bytes of printable text
	VMContextID   string `json:"vm_context_id,omitempty"`  // the hub's own identifier of the VM, passed through unchanged
	InventoryPath string `json:"inventory_path,omitempty"` // in vCenter, e.g. /DC1/vm/pgtest1
	VCenter       string `json:"vcenter,omitempty"`        // a name of the configuration; "" is none
	UUID          string `json:"uuid,omitempty"`           // vCenter's config.uuid, as vm.discover reports it; "" if unknown
	Disks         []Disk `json:"disks,omitempty"`          // at most 256; a VM without disks cannot be backed up

	// Refresh says whether the SNA is asked for the VM's disks before each backup. If that fails, "prefer" backs up the disks on
	// record and "require" refuses the backup; "" never asks. It needs a vcenter.
	Refresh string `json:"refresh,omitempty" enum:"prefer,require"`

	Tags []string `json:"tags,omitempty"` // words by which groups choose VMs; at most 32 of at most 64 bytes, without spaces, commas and semicolons

	// BackupInterval is how often a restore point is expected, for monitoring: "26h". "" is as configured
	// (metrics.backup_interval), "0s" expects none. It starts no backups.
	BackupInterval string `json:"backup_interval,omitempty"`
}

// Disk is one virtual disk of a VM.
type Disk struct {
	DiskID        int    `json:"disk_id"`              // index within the VM, from 0
	UnitNumber    int    `json:"unit_number"`          // unit on its controller, from 0
	DeviceKey     int    `json:"device_key,omitempty"` // VMware's VirtualDisk.Key; 0 is unknown: 2000 + unit_number is used
	CapacityBytes int64  `json:"capacity_bytes"`       // a multiple of 512, at most 64 TiB
	Label         string `json:"label,omitempty"`      // VMware's, e.g. "Hard disk 1"
}

// VMRef names a VM.
type VMRef struct {
	VMName string `json:"vm_name"`
}

// VMPut is the result of vm.put, and of vm.check, which says what vm.put would do.
type VMPut struct {
	Created   bool `json:"created"`             // false: a record of that name was replaced
	Unchanged bool `json:"unchanged,omitempty"` // of vm.check: the record is the same already
	VM        VM   `json:"vm"`

	Groups    []string `json:"groups,omitempty"`    // ids of the configured groups that the VM belongs to
	Ungrouped bool     `json:"ungrouped,omitempty"` // groups are configured, and none chooses or excludes the VM: no schedule backs it up
}

// VMQuery selects VMs, sorted by name.
type VMQuery struct {
	Cursor string `json:"cursor,omitempty"` // NextCursor of the previous page; "" is the first page
	Limit  int    `json:"limit,omitempty"`  // 1 to 1000; 0 is 100

	Backups bool `json:"backups,omitempty"` // also say what is known about the backups of each VM
}

// VMPage is one page of a list of VMs.
type VMPage struct {
	VMs []VM `json:"vms"`

	// Backups has one entry for each VM, in the same order. Only if it was asked for.
	Backups []VMBackups `json:"backups,omitempty"`

	NextCursor string `json:"next_cursor,omitempty"` // "" on the last page
}

// DiscoverRequest asks the SNA which VMs a vCenter has. It takes about 15 seconds for a hundred VMs.
type DiscoverRequest struct {
	VCenter string `json:"vcenter"`          // a name of the configuration
	Filter  string `json:"filter,omitempty"` // filter on names, applied by the SNA; "" is all
	Store   bool   `json:"store,omitempty"`  // put every VM found on record
}

// DiscoverResponse is the list of VMs that the SNA found.
type DiscoverResponse struct {
	VMs []DiscoveredVM `json:"vms"`
}

// DiscoveredVM is one VM that the SNA found.
type DiscoveredVM struct {
	VM     VM     `json:"vm"`
	Stored bool   `json:"stored"`
	Error  string `json:"error,omitempty"` // why it was not or cannot be stored
}

// VMBackups is what is known about the backups of a VM.
type VMBackups struct {
	VMName string `json:"vm_name"`

	// LastGood is the newest restore point in a configured repository that is not known to be damaged and has no date in the future.
	LastGood *GoodPoint `json:"last_good,omitempty"`

	// Overdue: that restore point is older than the interval, or the VM was added that long ago and has none. It is the condition
	// of the alert SendenseNoRecentBackup.
	Overdue bool `json:"overdue"`

	// IntervalSeconds is how often a restore point is expected: the backup_interval of the VM, otherwise metrics.backup_interval of
	// the configuration. 0 is never.
	IntervalSeconds int64 `json:"interval_seconds"`

	// Failed is the backup that failed last, if it began after the last good restore point.
	Failed *FailedBackup `json:"failed,omitempty"`

	ActiveBackupID string      `json:"active_backup_id,omitempty"` // the backup in progress
	ActiveState    BackupState `json:"active_state,omitempty"`
}

// GoodPoint is a restore point.
type GoodPoint struct {
	BackupID     string    `json:"backup_id"`
	RepositoryID string    `json:"repository_id"`
	CreatedAt    time.Time `json:"created_at"`
	CompletedAt  time.Time `json:"completed_at"` // its age counts from here
}

// FailedBackup is a backup that failed.
type FailedBackup struct {
	BackupID  string    `json:"backup_id"`
	CreatedAt time.Time `json:"created_at"`
	EndedAt   time.Time `json:"ended_at"`
	Failure   *Failure  `json:"failure,omitempty"`
}
