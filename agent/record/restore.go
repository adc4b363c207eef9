package record

import "time"

// A Restore serves a restore point over NBD, one export per disk, all of one instant.
type Restore struct {
	ID          string        `json:"restore_id"`
	BackupID    string        `json:"backup_id"` // the restore point
	VMName      string        `json:"vm_name"`
	Repository  string        `json:"repository_id"`
	Points      []string      `json:"points"`                 // the restore point and all it stands on, newest first: none may go while it is active
	Writable    bool          `json:"writable,omitempty"`     // clients write into scratch overlays, which go at the end
	Directory   string        `json:"directory,omitempty"`    // absolute path of the scratch overlays' directory
	ScratchMade bool          `json:"scratch_made,omitempty"` // Directory may be there
	State       RestoreState  `json:"state"`
	Targets     string        `json:"nbd_targets,omitempty"`
	Disks       []RestoreDisk `json:"disks"`
	Files       *RestoreFiles `json:"files,omitempty"`      // the reader of the files of its one disk
	RequestID   string        `json:"request_id,omitempty"` // the caller's own, so that a repeated request starts nothing
	Warnings    []string      `json:"warnings,omitempty"`   // the same as Damage, in words
	Failure     *Failure      `json:"failure,omitempty"`    // why it failed or is being stopped
	CreatedAt   time.Time     `json:"created_at"`
	UpdatedAt   time.Time     `json:"updated_at"`
	ExpiresAt   time.Time     `json:"expires_at"` // it ends then, or when its last client has gone after that
	LatestAt    time.Time     `json:"latest_at"`  // it ends then, whoever is connected
	EndedAt     time.Time     `json:"ended_at,omitzero"`

	DespiteDamage   bool            `json:"despite_damage,omitempty"`   // what is damaged is served all the same
	VerifyDigests   bool            `json:"verify_digests,omitempty"`   // every image is read whole and compared with its digest before it is served
	DigestsVerified bool            `json:"digests_verified,omitempty"` // that was done, and each of them is what was written
	Damage          []RestoreDamage `json:"damage,omitempty"`           // what is wrong with what it reads; it is served in spite of that
}

// A RestoreDisk is one disk of a restore point as it is served.
type RestoreDisk struct {
	DiskID        int    `json:"disk_id"`
	Key           int    `json:"disk_key"`
	Label         string `json:"label,omitempty"`
	CapacityBytes int64  `json:"capacity_bytes"`
	Image         string `json:"image"`             // absolute path of what is served: the restore point's image, or the overlay
	Backing       string `json:"backing,omitempty"` // of an overlay: the restore point's image, relative to the overlay's directory
	IO            string `json:"io,omitempty"`      // QEMU cache and aio modes of the exporter
	Port          uint16 `json:"nbd_port"`
	ExportName    string `json:"nbd_export_name"`
	URL           string `json:"nbd_url,omitempty"`       // where it is served
	Unit          string `json:"unit"`                    // name without suffix; carries the lease's nonce
	InvocationID  string `json:"invocation_id,omitempty"` // of the exporter that was started for this restore
	PID           int    `json:"pid,omitempty"`
}

// RestoreDamage says what is wrong with a file that a restore reads.
type RestoreDamage struct {
	BackupID string `json:"backup_id"`
	DiskID   *int   `json:"disk_id,omitempty"` // that stands on it; nil for a manifest
	Path     string `json:"path"`              // absolute
	Problem  string `json:"problem"`
}

// RestoreFiles is what reads single files out of a disk.
type RestoreFiles struct {
	Socket       string `json:"socket"` // absolute path of the Unix socket that it answers on
	Unit         string `json:"unit"`   // name without suffix; carries the nonce of the disk's first lease
	InvocationID string `json:"invocation_id,omitempty"`
}

// Disk returns one disk, or nil.
func (r *Restore) Disk(id int) *RestoreDisk {
	for i := range r.Disks {
		if r.Disks[i].DiskID == id {
			return &r.Disks[i]
		}
	}
	return nil
}

// RestoreState is where a restore stands.
type RestoreState string

// The states of a restore.
//
//	start -> preparing -> exporting -> serving ---> stopping -> ended | failed
//	             |            |                        ^
//	             +------------+------------------------+
const (
	RestorePreparing RestoreState = "preparing" // record and leases are there, nothing else
	RestoreExporting RestoreState = "exporting" // the chain is looked at, overlays are made, exporters are started
	RestoreServing   RestoreState = "serving"   // every export answered a handshake
	RestoreStopping  RestoreState = "stopping"  // exporters and overlays are being removed
	RestoreEnded     RestoreState = "ended"     // somebody stopped it, or its time was over
	RestoreFailed    RestoreState = "failed"    // see its Failure
)

// RestoreStates lists every state.
var RestoreStates = []RestoreState{
	RestorePreparing, RestoreExporting, RestoreServing, RestoreStopping, RestoreEnded, RestoreFailed,
}

var nextOfRestore = map[RestoreState][]RestoreState{
	RestorePreparing: {RestoreExporting, RestoreStopping},
	RestoreExporting: {RestoreServing, RestoreStopping},
	RestoreServing:   {RestoreStopping},
	RestoreStopping:  {RestoreEnded, RestoreFailed},
}

// Active says whether a restore in this state holds leases, and pins the restore points that it reads.
func (s RestoreState) Active() bool { return s != RestoreEnded && s != RestoreFailed }

// CheckRestoreTransition returns an *IllegalTransitionError when a restore cannot go from one state to the other.
func CheckRestoreTransition(from, to RestoreState) error {
	for _, s := range nextOfRestore[from] {
		if s == to {
			return nil
		}
	}
	return &IllegalTransitionError{What: "restore", From: State(from), To: State(to)}
}
