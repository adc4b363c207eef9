package rpc

import "time"

// RestoreState is the state of a restore.
type RestoreState string

// The states of a restore, in their order.
const (
	RestorePreparing RestoreState = "preparing" // ports are leased, nothing else is done yet
	RestoreExporting RestoreState = "exporting" // images are checked, exports are started
	RestoreServing   RestoreState = "serving"   // every disk can be read at its URL
	RestoreStopping  RestoreState = "stopping"  // exports and overlays are removed
	RestoreEnded     RestoreState = "ended"     // it was stopped, or its lifetime was over
	RestoreFailed    RestoreState = "failed"    // see its Failure
)

// Ended says whether the restore has ended and does not change any more.
func (s RestoreState) Ended() bool { return s == RestoreEnded || s == RestoreFailed }

// RestoreRequest asks to serve a restore point over NBD: all its disks or some of them, as they were at one moment, that of its
// snapshot.
type RestoreRequest struct {
	BackupID        string `json:"backup_id"`
	Disks           []int  `json:"disks,omitempty"`            // disk ids; empty is every disk
	Writable        bool   `json:"writable,omitempty"`         // clients may write; what they write is discarded at the end
	LifetimeSeconds int64  `json:"lifetime_seconds,omitempty"` // after that it ends, or as soon as no client is connected; 0 is as configured

	// Files starts a reader of single files for the one disk. The answer names its socket. The restore ends when there was no
	// request on that socket for a minute.
	Files bool `json:"files,omitempty"`

	// DespiteDamage serves what is left of a damaged restore point: warnings and damage of the answer say what is wrong. Without it
	// the restore is refused with the reason damaged. Never served are files whose content would be unknown: a missing file, one
	// with the wrong backing file, and one without a readable manifest.
	DespiteDamage bool `json:"despite_damage,omitempty"`

	// VerifyDigests reads every image of the disks, and of their chain, whole and compares it with its digest before it is served.
	// The answer comes after that; restore.list shows the progress.
	VerifyDigests bool `json:"verify_digests,omitempty"`

	// RequestID is the caller's own id of this request. While the restore of an earlier request with the same id is on record, the
	// request starts nothing and is answered with that restore, whatever its state.
	RequestID string `json:"request_id,omitempty"`
}

// RestoreRef names a restore.
type RestoreRef struct {
	RestoreID string `json:"restore_id"`
}

// RestoreQuery selects restores.
type RestoreQuery struct {
	ActiveOnly bool `json:"active_only,omitempty"`
}

// RestoreList is the result of restore.list.
type RestoreList struct {
	Restores []Restore `json:"restores"`
}

// Restore is the record of a restore: a restore point that is or was served over NBD.
type Restore struct {
	RestoreID    string        `json:"restore_id"`
	BackupID     string        `json:"backup_id"` // the restore point
	VMName       string        `json:"vm_name"`
	RepositoryID string        `json:"repository_id"`
	Points       []string      `json:"points"` // the restore point and its chain: they cannot be deleted during the restore
	Writable     bool          `json:"writable"`
	Directory    string        `json:"directory,omitempty"` // of a writable restore: absolute path of its overlays
	State        RestoreState  `json:"state"`
	FilesSocket  string        `json:"files_socket,omitempty"` // socket of the reader of its files: see rpc/guestfiles
	FilesUnit    string        `json:"files_unit,omitempty"`   // systemd unit of that reader, without suffix
	RequestID    string        `json:"request_id,omitempty"`
	Warnings     []string      `json:"warnings,omitempty"` // damage, for a person
	Failure      *Failure      `json:"failure,omitempty"`  // why it failed or is stopped
	Disks        []RestoreDisk `json:"disks"`

	// NBDTargetsString is disk key and NBD URL of every disk, as of a backup.
	NBDTargetsString string    `json:"nbd_targets_string"`
	TotalBytes       int64     `json:"total_bytes"` // sum of the disks' capacities
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
	ExpiresAt        time.Time `json:"expires_at"` // it ends then, or after that as soon as no client is connected
	LatestAt         time.Time `json:"latest_at"`  // it ends then, even if clients are connected
	EndedAt          time.Time `json:"ended_at,omitzero"`

	DespiteDamage   bool             `json:"despite_damage,omitempty"`
	VerifyDigests   bool             `json:"verify_digests,omitempty"`
	DigestsVerified bool             `json:"digests_verified,omitempty"` // every image was read before it was served, and matches its digest
	Damage          []RestoreDamage  `json:"damage,omitempty"`           // damage of what it serves
	Progress        *RestoreProgress `json:"progress,omitempty"`         // only while images are read to verify their digests
}

// RestoreDamage is the damage of one file that a restore reads.
type RestoreDamage struct {
	BackupID string `json:"backup_id"`         // restore point of the file
	DiskID   *int   `json:"disk_id,omitempty"` // disk of the restore that needs it; none for a manifest
	Path     string `json:"path"`              // absolute
	Problem  string `json:"problem"`
}

// RestoreProgress is the progress of reading images before they are served.
type RestoreProgress struct {
	File       string `json:"file"` // path of the current image
	BytesDone  int64  `json:"bytes_done"`
	BytesTotal int64  `json:"bytes_total"`
}

// RestoreDisk is one disk of a restore.
type RestoreDisk struct {
	DiskID        int    `json:"disk_id"`
	DiskKey       int    `json:"disk_key"`
	Label         string `json:"label,omitempty"`
	CapacityBytes int64  `json:"capacity_bytes"`
	NBDURL        string `json:"nbd_url"` // nbd://127.0.0.1:10100/restore-vm-1700000000-disk0, raw
	NBDPort       uint16 `json:"nbd_port"`
	NBDExportName string `json:"nbd_export_name"`
	QCOW2Path     string `json:"qcow2_path"` // the image that is served: that of the restore point, or the overlay
	IO            string `json:"io,omitempty"`
	Unit          string `json:"unit"` // systemd unit of the exporter, without suffix
	InvocationID  string `json:"invocation_id,omitempty"`
	QemuNBDPID    int    `json:"qemu_nbd_pid,omitempty"`
}
