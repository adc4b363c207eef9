package rpc

import "time"

// RestoreState is where a restore stands.
type RestoreState string

// The states of a restore, in the order in which they follow each other.
const (
	RestorePreparing RestoreState = "preparing" // ports are leased, nothing else is done
	RestoreExporting RestoreState = "exporting" // images are looked at, exports are being started
	RestoreServing   RestoreState = "serving"   // every disk can be read at its URL
	RestoreStopping  RestoreState = "stopping"  // exports and overlays are being removed
	RestoreEnded     RestoreState = "ended"     // it was stopped, or its time was over
	RestoreFailed    RestoreState = "failed"    // see its Failure
)

// Ended says whether the restore will not change any more.
func (s RestoreState) Ended() bool { return s == RestoreEnded || s == RestoreFailed }

// RestoreRequest asks that a restore point be served over NBD: every disk of it, or those that are named, as they were at
// its one instant.
type RestoreRequest struct {
	BackupID        string `json:"backup_id"`
	Disks           []int  `json:"disks,omitempty"`            // disk ids; none is every disk
	Writable        bool   `json:"writable,omitempty"`         // clients may write; all of that is thrown away at the end
	LifetimeSeconds int64  `json:"lifetime_seconds,omitempty"` // after which it ends, or when its last client has gone; 0 is as configured

	// Files has single files of the one disk read, over a socket that the answer names. The restore then ends when nobody has
	// asked for a minute.
	Files bool `json:"files,omitempty"`

	// DespiteDamage has what is left of a restore point served that is not what was written: its warnings and damage say what is
	// wrong. Without it such a restore is refused with the reason damaged. A file of which nobody knows what would be read is never
	// served: one that is missing, or that names another file as its backing, or whose manifest cannot be read.
	DespiteDamage bool `json:"despite_damage,omitempty"`

	// VerifyDigests has every image that is to be served, with all it stands on, read whole and compared with its digest before. The
	// answer comes after that; restore.list tells how far it has come.
	VerifyDigests bool `json:"verify_digests,omitempty"`

	// RequestID is the caller's own mark of this request. A request that repeats the mark of an earlier one, as long as that is on
	// record, starts nothing and gets that one's restore, whatever has become of it.
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

// Restore is a restore point that is served over NBD, or was.
type Restore struct {
	RestoreID    string        `json:"restore_id"`
	BackupID     string        `json:"backup_id"` // the restore point
	VMName       string        `json:"vm_name"`
	RepositoryID string        `json:"repository_id"`
	Points       []string      `json:"points"` // the restore point and all it stands on: they cannot be deleted meanwhile
	Writable     bool          `json:"writable"`
	Directory    string        `json:"directory,omitempty"` // absolute path of the overlays of a writable one
	State        RestoreState  `json:"state"`
	FilesSocket  string        `json:"files_socket,omitempty"` // where its files are read: see [FilesRequest]
	FilesUnit    string        `json:"files_unit,omitempty"`   // systemd unit of what reads them, without suffix
	RequestID    string        `json:"request_id,omitempty"`
	Warnings     []string      `json:"warnings,omitempty"` // damage, in words
	Failure      *Failure      `json:"failure,omitempty"`  // why it failed or is being stopped
	Disks        []RestoreDisk `json:"disks"`

	// NBDTargetsString is disk key and NBD URL of every disk, as a backup's.
	NBDTargetsString string    `json:"nbd_targets_string"`
	TotalBytes       int64     `json:"total_bytes"` // sum of the disks' capacities
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
	ExpiresAt        time.Time `json:"expires_at"` // it ends then, or when its last client has gone after that
	LatestAt         time.Time `json:"latest_at"`  // it ends then, whoever is connected
	EndedAt          time.Time `json:"ended_at,omitzero"`

	DespiteDamage   bool             `json:"despite_damage,omitempty"`
	VerifyDigests   bool             `json:"verify_digests,omitempty"`
	DigestsVerified bool             `json:"digests_verified,omitempty"` // every image was read before it was served, and is what was written
	Damage          []RestoreDamage  `json:"damage,omitempty"`           // what is wrong with what it serves
	Progress        *RestoreProgress `json:"progress,omitempty"`         // only while images are read for their digests
}

// RestoreDamage is what is wrong with a file that a restore reads.
type RestoreDamage struct {
	BackupID string `json:"backup_id"`         // of the restore point that the file is of
	DiskID   *int   `json:"disk_id,omitempty"` // the disk of the restore that stands on it; of a manifest none
	Path     string `json:"path"`              // absolute, on the hub
	Problem  string `json:"problem"`
}

// RestoreProgress is how far the reading of images has come, before they are served.
type RestoreProgress struct {
	File       string `json:"file"` // path of the image that is read
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
	QCOW2Path     string `json:"qcow2_path"` // of the image that is served: the restore point's, or the overlay
	IO            string `json:"io,omitempty"`
	Unit          string `json:"unit"` // systemd unit of the exporter, without suffix
	InvocationID  string `json:"invocation_id,omitempty"`
	QemuNBDPID    int    `json:"qemu_nbd_pid,omitempty"`
}
