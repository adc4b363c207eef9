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
	FreeBytes    uint64 `json:"free_bytes"`      // free space for the agent
	TotalBytes   uint64 `json:"total_bytes"`     // size of the file system
	Cache        string `json:"cache,omitempty"` // QEMU's cache mode that works there
	AIO          string `json:"aio,omitempty"`   // QEMU's aio mode that works there
	Error        string `json:"error,omitempty"` // why it cannot be used; "" if it can

	State          string    `json:"state"`                     // "ok", "slow", or "stuck": it does not answer
	StuckSince     time.Time `json:"stuck_since,omitzero"`      // since when it does not answer
	StuckOperation string    `json:"stuck_operation,omitempty"` // what the agent waits for

	// EncryptionKey is the name of the encryption key of new backups; "" if they are not encrypted.
	EncryptionKey string `json:"encryption_key,omitempty"`

	RestorePoints int `json:"restore_points"` // restore points on record

	Catalog Catalog `json:"catalog"` // whether records and repository agree

	Paused   *Pause   `json:"paused,omitempty"` // absent if it is not paused
	Activity Activity `json:"activity"`         // what is in progress there
}

// Pause says that nothing new starts in a repository.
type Pause struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"` // of the person who paused it
}

// Activity is what is in progress in a repository.
type Activity struct {
	Backups       int `json:"backups"` // that are not queued
	Queued        int `json:"queued"`  // backups that wait in the queue
	Restores      int `json:"restores"`
	Merges        int `json:"merges"`
	Verifications int `json:"verifications"`
}

// PauseRequest asks to pause a repository.
type PauseRequest struct {
	RepositoryID string `json:"repository_id"`
	Reason       string `json:"reason,omitempty"` // for messages: one line, at most 256 bytes; "" keeps the earlier one
}

// PauseState is the result of repository.pause and repository.resume.
type PauseState struct {
	RepositoryID string   `json:"repository_id"`
	Paused       *Pause   `json:"paused,omitempty"` // absent if it is not paused
	Activity     Activity `json:"activity"`         // what is in progress there
}

// Catalog is the result of the last comparison of the records with what is in the repository.
type Catalog struct {
	ComparedAt  time.Time           `json:"compared_at,omitzero"`  // absent if they were not compared yet
	Unrecorded  int                 `json:"unrecorded"`            // restore points that are in the repository but not on record
	Missing     int                 `json:"missing"`               // restore points that are on record but not in the repository
	Different   int                 `json:"different"`             // restore points whose record and manifest differ
	Differences []CatalogDifference `json:"differences,omitempty"` // the first 20 of all these
	Error       string              `json:"error,omitempty"`       // why the last comparison failed; "" if it did not

	Others    int            `json:"others,omitempty"`    // directories that are neither restore points nor on record; the agent leaves them as they are
	Examples  []string       `json:"examples,omitempty"`  // the first 20 of them
	Importing bool           `json:"importing,omitempty"` // the restore points are being put on record
	Waiting   bool           `json:"waiting,omitempty"`   // restore points wait for a missing key; the daemon imports them when it has the key
	Import    *CatalogImport `json:"import,omitempty"`    // the last import since the start of the agent; absent if there was none
}

// CatalogImport is the result of putting the restore points of a repository on record that the catalog had nothing of.
type CatalogImport struct {
	At            time.Time        `json:"at"`
	RestorePoints int              `json:"restore_points"`     // put on record
	VMs           int              `json:"vms"`                // put on record
	ProblemCount  int              `json:"problem_count"`      // of what was not imported or is wrong
	Problems      []CatalogProblem `json:"problems,omitempty"` // the first 20 of them
}

// CatalogProblem says why something in a repository was not imported.
type CatalogProblem struct {
	Path   string `json:"path"` // absolute
	Reason string `json:"reason"`
}

// CatalogDifference is one restore point for which records and repository disagree.
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

// Export is one disk that is exported over NBD.
type Export struct {
	BackupID      string `json:"backup_id"`            // the backup that is written, or that a restore reads
	RestoreID     string `json:"restore_id,omitempty"` // "" for an export of a backup
	VMName        string `json:"vm_name"`
	DiskID        int    `json:"disk_id"`
	NBDPort       uint16 `json:"nbd_port"`
	NBDExportName string `json:"nbd_export_name"`
	Unit          string `json:"unit"`
	UnitState     string `json:"unit_state"` // systemd's ActiveState/SubState
	QemuNBDPID    int    `json:"qemu_nbd_pid"`
	ReceivedBytes uint64 `json:"received_bytes"` // on the network, since the export was ready
	SentBytes     uint64 `json:"sent_bytes"`
	Clients       int    `json:"clients"` // open connections
}

// ExportList is the result of export.list.
type ExportList struct {
	Exports []Export `json:"exports"`
}

// AgentStatus is the state of the agent.
type AgentStatus struct {
	Version        string       `json:"version"`
	StartedAt      time.Time    `json:"started_at"`
	BusConnected   bool         `json:"bus_connected"` // to systemd, over D-Bus
	SNAURL         string       `json:"sna_url"`
	VCenters       []string     `json:"vcenters,omitempty"` // names in the configuration, for vm.discover
	Warnings       []string     `json:"warnings,omitempty"` // risks of the configuration, for a person
	ActiveBackups  int          `json:"active_backups"`
	ActiveRestores int          `json:"active_restores"`
	VMs            int          `json:"vms"`
	Ports          PortCounts   `json:"ports"`
	Repositories   []Repository `json:"repositories"`
	State          State        `json:"state"`

	HeldPrunes          []HeldPrune `json:"held_prunes,omitempty"`           // held prunes: they wait for a person
	FutureRestorePoints int         `json:"future_restore_points,omitempty"` // restore points dated in the future: a clock was wrong
	FutureBackupIDs     []string    `json:"future_backup_ids,omitempty"`     // some of them
	CatalogDifferences  int         `json:"catalog_differences"`             // restore points for which records and repository disagree, of all repositories
}

// State is the state directory, which holds the agent's database, as it is now.
type State struct {
	Directory string   `json:"directory"`
	FreeBytes int64    `json:"free_bytes"`          // free space of its file system
	Error     string   `json:"error,omitempty"`     // why nothing can be recorded; "" if it can
	Hint      string   `json:"hint,omitempty"`      // what to do about it
	SetAside  []string `json:"set_aside,omitempty"` // damaged databases that are kept there: see what is lost, then remove them
}

// PortCounts says how the configured range of NBD ports is used.
type PortCounts struct {
	Total   int `json:"total"`
	Leased  int `json:"leased"`
	Cooling int `json:"cooling"` // cooling down: a client of an ended backup may still connect
	Foreign int `json:"foreign"` // used by processes that are not the agent's
}
