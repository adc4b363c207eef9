package rpc

import "time"

// None is the parameter object of a method without parameters.
type None struct{}

// RepositoryRef names a repository.
type RepositoryRef struct {
	RepositoryID string `json:"repository_id"`
}

// Repository is a configured repository as it is now.
type Repository struct {
	RepositoryID string `json:"repository_id"`
	Path         string `json:"path"`
	FreeBytes    uint64 `json:"free_bytes"`      // available to the agent
	TotalBytes   uint64 `json:"total_bytes"`     // size of the file system
	Cache        string `json:"cache,omitempty"` // QEMU's cache mode that works there
	AIO          string `json:"aio,omitempty"`   // QEMU's aio mode that works there
	Error        string `json:"error,omitempty"` // why it cannot be used; "" is usable

	// EncryptionKey is the name of the key that new backups are encrypted with; "" if they are not.
	EncryptionKey string `json:"encryption_key,omitempty"`

	RestorePoints int `json:"restore_points"` // on record, of all times

	Catalog Catalog `json:"catalog"` // how what is on record agrees with what lies there
}

// Catalog is how what is on record of a repository agreed with what lies there, when the two were last compared.
type Catalog struct {
	ComparedAt  time.Time           `json:"compared_at,omitzero"`  // absent while they have not been
	Unrecorded  int                 `json:"unrecorded"`            // restore points that lie there and are not on record
	Missing     int                 `json:"missing"`               // restore points that are on record and do not lie there
	Different   int                 `json:"different"`             // restore points of which the record says something else than the manifest
	Differences []CatalogDifference `json:"differences,omitempty"` // the first 20 of them all
	Error       string              `json:"error,omitempty"`       // why the last comparison could not be made; "" is that it was
}

// CatalogDifference is a restore point about which record and repository disagree.
type CatalogDifference struct {
	Kind      string `json:"kind"` // "unrecorded", "missing" or "different"
	BackupID  string `json:"backup_id"`
	Directory string `json:"directory"` // absolute
	Reason    string `json:"reason"`
}

// RepositoryList is the result of repository.list.
type RepositoryList struct {
	Repositories []Repository `json:"repositories"`
}

// Export is one disk that is being served over NBD.
type Export struct {
	BackupID      string `json:"backup_id"`            // the backup that is written, or the one that a restore reads
	RestoreID     string `json:"restore_id,omitempty"` // "" for the export of a backup
	VMName        string `json:"vm_name"`
	DiskID        int    `json:"disk_id"`
	NBDPort       uint16 `json:"nbd_port"`
	NBDExportName string `json:"nbd_export_name"`
	Unit          string `json:"unit"`
	UnitState     string `json:"unit_state"` // systemd's ActiveState/SubState
	QemuNBDPID    int    `json:"qemu_nbd_pid"`
	ReceivedBytes uint64 `json:"received_bytes"` // on the wire, since the export was ready
	SentBytes     uint64 `json:"sent_bytes"`
	Clients       int    `json:"clients"` // connections that are open now
}

// ExportList is the result of export.list.
type ExportList struct {
	Exports []Export `json:"exports"`
}

// AgentStatus is the agent at a glance.
type AgentStatus struct {
	Version        string       `json:"version"`
	StartedAt      time.Time    `json:"started_at"`
	BusConnected   bool         `json:"bus_connected"` // to systemd, over D-Bus
	SNAURL         string       `json:"sna_url"`
	VCenters       []string     `json:"vcenters,omitempty"` // names in the configuration, that vm.discover takes
	Warnings       []string     `json:"warnings,omitempty"` // what the configuration risks, in words for a person
	ActiveBackups  int          `json:"active_backups"`
	ActiveRestores int          `json:"active_restores"`
	VMs            int          `json:"vms"`
	Ports          PortCounts   `json:"ports"`
	Repositories   []Repository `json:"repositories"`
	State          State        `json:"state"`

	HeldPrunes          []HeldPrune `json:"held_prunes,omitempty"`           // daily runs that wait for a person
	FutureRestorePoints int         `json:"future_restore_points,omitempty"` // that are dated in the future, by a clock that was wrong
	FutureBackupIDs     []string    `json:"future_backup_ids,omitempty"`     // some of them
	CatalogDifferences  int         `json:"catalog_differences"`             // restore points about which records and repositories disagree, of all repositories
}

// State is the directory of the agent's database as it is now.
type State struct {
	Directory string   `json:"directory"`
	FreeBytes int64    `json:"free_bytes"`          // what may still be written to its file system
	Error     string   `json:"error,omitempty"`     // why nothing can be put on record; "" is that it can
	Hint      string   `json:"hint,omitempty"`      // what to do about that
	SetAside  []string `json:"set_aside,omitempty"` // damaged databases that are kept there: see what is lost, then remove them
}

// PortCounts says what the configured range of NBD ports is used for.
type PortCounts struct {
	Total   int `json:"total"`
	Leased  int `json:"leased"`
	Cooling int `json:"cooling"` // not used again yet, because a client of an ended backup may still come
	Foreign int `json:"foreign"` // held by processes that are not the agent's
}
