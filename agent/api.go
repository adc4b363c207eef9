package agent

import (
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// StartRequest asks for a backup of a whole VM.
type StartRequest struct {
	VMName     string
	Type       record.Type
	Repository string
	Policy     string
	Tags       map[string]string
	RequestID  string
	Queue      bool  // wait for a turn when there is no room now, instead of being refused
	RateLimit  int64 // bytes per second that each export may take in; 0 = the repository's own limit
}

// ListQuery selects backups, newest first by their dates. Limit is 1 to 1000; 0 = 100.
type ListQuery = store.Query

// RepositoryStatus is a configured repository as it is now.
type RepositoryStatus struct {
	ID         string
	Path       string
	FreeBytes  uint64 // available to the agent, from statfs
	TotalBytes uint64
	Cache, AIO string // QEMU's modes that were found to work there
	Error      string // why it cannot be used; "" = usable

	RestorePoints int // on record, of all times

	EncryptionKey string // id of the key of new images; "" = they are plain

	Catalog CatalogState // how catalog and repository agreed when they were last compared
}

// Export is one disk that is being served, as lease and unit say.
type Export struct {
	BackupID, VMName string // the backup that is written, or the one that a restore reads
	RestoreID        string // "" for the export of a backup
	DiskID           int
	Port             uint16
	ExportName       string
	Unit             string
	UnitState        string // systemd's ActiveState/SubState of the exporter
	PID              int
	ReceivedBytes    uint64 // bytes on the wire since the export was ready
	SentBytes        uint64
	Clients          int // connections that are open now
}

// Status is the agent at a glance.
type Status struct {
	Version        string
	StartedAt      time.Time
	BusConnected   bool
	SNAURL         string
	VCenters       []string // names in the configuration, sorted
	Warnings       []string // what the configuration risks, for a person
	ActiveBackups  int
	ActiveRestores int
	VMs            int
	PortsTotal     int
	PortsLeased    int
	PortsCooling   int
	PortsForeign   int // held by processes that are not ours
	Repositories   []RepositoryStatus
	State          StateStatus

	HeldPrunes   []HeldPrune // daily runs that wait for a person
	FuturePoints int         // restore points that are dated in the future
	FutureIDs    []string    // some of them
}

// ChangeIDAnswer is what SBC is told when it asks from which change id to copy; an empty ChangeID means a full copy.
type ChangeIDAnswer struct {
	VMName, ChangeID, BackupID, Message string
	DiskID                              int
}

// DiscoverRequest asks the SNA for the VMs of a vCenter.
type DiscoverRequest struct {
	VCenter string // a name of the configuration
	Filter  string // the SNA's name filter; "" = all
	Store   bool   // put every VM found on record
}

// DiscoveredVM is a VM that the SNA reported, and whether it could be put on record.
type DiscoveredVM struct {
	VM     record.VM
	Stored bool
	Error  string // why it was not stored; "" = nothing wrong
}

// Progress is how far the copying of a backup has come, as seen from our own side. A disk's received bytes are those on
// the wire: zeroes are among them, unless sna.accept_write_zeroes lets a run of them cost a few bytes.
type Progress struct {
	ReceivedBytes  uint64
	TotalBytes     int64          // sum of the capacities
	BytesPerSecond float64        // over the last seconds
	Fraction       float64        // 0 to 1, estimated: what is complete, and of the rest what was received or reported
	ETA            time.Duration  // estimated from Fraction; 0 = not known
	Disks          []DiskProgress // in the order of the record's disks
	Telemetry      *Telemetry     // what SBC said last; nil if nothing
	ClientReport   string         // what SBC last reported to the SNA, as far as it was asked for
}

// DiskProgress is how far the copying of one disk has come.
type DiskProgress struct {
	DiskID        int
	ReceivedBytes uint64
	CapacityBytes int64
	Complete      bool
	Clients       int // connections that are open now
}

// Telemetry is what SBC reports of itself: a hint, never the truth. It says "completed" at the end of each disk.
type Telemetry struct {
	At               time.Time
	Status, Phase    string
	BytesTransferred int64
	TotalBytes       int64
	BytesPerSecond   float64
	Percent          float64 // may pass 100
	Error            string
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventState    EventKind = "state"    // the record changed; also the first event of every backup that is watched
	EventProgress EventKind = "progress" // once a second while a backup runs
	EventDropped  EventKind = "dropped"  // the watcher was too slow: events are missing before the next one

	EventPruneHeld EventKind = "prune_held" // a daily prune waits for a person; also first, of each that does
)

// Event is one thing a watcher is told.
type Event struct {
	Kind     EventKind
	Backup   record.Backup   // of EventState and EventProgress
	Restore  *record.Restore // in place of Backup, of a watch of restores
	Progress *Progress       // of EventProgress
	Dropped  int             // of EventDropped: how many events are missing
	Held     *HeldPrune      // of EventPruneHeld
}

// WatchQuery selects what a watcher is told; the zero value is everything.
type WatchQuery struct {
	BackupID  string
	VMName    string
	Restores  bool // restores are watched, and no backups
	RestoreID string
	Prunes    bool // beside backups, daily prunes that are held
}

// Config is the configuration that the agent works with. It must not be changed.
func (a *Agent) Config() *config.Config { return a.config }
