package agent

import (
	"time"

	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
)

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

	Catalog catalog.State // how catalog and repository agreed when they were last compared
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

	HeldPrunes   []record.HeldPrune // daily runs that wait for a person
	FuturePoints int                // restore points that are dated in the future
	FutureIDs    []string           // some of them
}

// Config is the configuration that the agent works with. It must not be changed.
func (a *Agent) Config() *config.Config { return a.config }
