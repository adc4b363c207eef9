package agent

import (
	"time"

	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
)

// RepositoryStatus is the present state of a configured repository.
type RepositoryStatus struct {
	ID         string
	Path       string
	FreeBytes  uint64 // available to the agent, from statfs
	TotalBytes uint64
	Cache, AIO string // QEMU's I/O modes that work there; "" = not detected
	Error      string // why the repository cannot be used; "" = usable

	State          storage.State // whether it answers
	StuckSince     time.Time     // since when it does not; zero if it does
	StuckOperation string        // what is not answered

	RestorePoints int // on record

	EncryptionKey string // id of the key of new images; "" = they are not encrypted

	Catalog catalog.State // result of the last comparison of catalog and repository

	Paused   *record.Pause // nil = not paused
	Activity Activity
}

// Export is one disk that is being served, by its lease and its unit.
type Export struct {
	BackupID, VMName string // the backup that is written, or the restore point that a restore reads
	RestoreID        string // "" for the export of a backup
	DiskID           int
	Port             uint16
	ExportName       string
	Unit             string
	UnitState        string // systemd's ActiveState/SubState of the exporter, or "not loaded"
	PID              int
	ReceivedBytes    uint64 // bytes on the wire since the export was ready
	SentBytes        uint64
	Clients          int // open connections
}

// Status is an overview of the agent.
type Status struct {
	Version        string
	StartedAt      time.Time
	BusConnected   bool
	SNAURL         string
	VCenters       []string // names in the configuration, sorted
	Warnings       []string // risks of the configuration, as text for a person
	ActiveBackups  int
	ActiveRestores int
	VMs            int
	PortsTotal     int
	PortsLeased    int
	PortsCooling   int
	PortsForeign   int // held by other processes
	Repositories   []RepositoryStatus
	State          StateStatus

	HeldPrunes   []record.HeldPrune // daily prunes that wait for a person
	FuturePoints int                // restore points dated in the future
	FutureIDs    []string           // some of them
}

// Config returns the configuration of the agent. The caller must not change it.
func (a *Agent) Config() *config.Config { return a.config }
