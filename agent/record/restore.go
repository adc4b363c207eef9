package record

import "time"

// A Restore serves a restore point over NBD, one export per disk, all of one instant.
type Restore struct {
	ID          string        `json:"restore_id"`
	BackupID    string        `json:"backup_id"` // the restore point
	VMName      string        `json:"vm_name"`
	Repository  string        `json:"repository_id"`
	Points      []string      `json:"points"`                 // the restore point and its chain, newest first: pinned while it is active
	Writable    bool          `json:"writable,omitempty"`     // clients write into scratch overlays, which are removed at the end
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
	ExpiresAt   time.Time     `json:"expires_at"` // it ends then, or later when its last client disconnects
	LatestAt    time.Time     `json:"latest_at"`  // it ends then, even with clients connected
	EndedAt     time.Time     `json:"ended_at,omitzero"`

	DespiteDamage   bool            `json:"despite_damage,omitempty"`   // it serves damaged restore points too
	VerifyDigests   bool            `json:"verify_digests,omitempty"`   // every image is read whole and compared with its digest before it is served
	DigestsVerified bool            `json:"digests_verified,omitempty"` // that was done, and all digests match
	Damage          []RestoreDamage `json:"damage,omitempty"`           // the damage of what it serves
}

// A RestoreDisk is one disk of a restore point as it is served.
type RestoreDisk struct {
	DiskID        int    `json:"disk_id"`
	Key           int    `json:"disk_key"`
	Label         string `json:"label,omitempty"`
	CapacityBytes int64  `json:"capacity_bytes"`
	Image         string `json:"image"`             // absolute path of the served image: the restore point's, or the overlay
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
	DiskID   *int   `json:"disk_id,omitempty"` // the disk that is based on it; nil for a manifest
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

// RestoreState is the state of a restore.
type RestoreState string

// The states of a restore.
//
//	start -> preparing -> exporting -> serving ---> stopping -> ended | failed
//	             |            |                        ^
//	             +------------+------------------------+
const (
	RestorePreparing RestoreState = "preparing" // there are record and leases, nothing else
	RestoreExporting RestoreState = "exporting" // the chain is checked, overlays are made, exporters are started
	RestoreServing   RestoreState = "serving"   // every export answered a handshake
	RestoreStopping  RestoreState = "stopping"  // exporters and overlays are being removed
	RestoreEnded     RestoreState = "ended"     // it was stopped, or its time was over
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

// Active says whether a restore in this state holds leases and pins the restore points that it reads.
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
