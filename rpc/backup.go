package rpc

import "time"

// BackupType says how much of a VM is copied.
type BackupType string

// The types of a backup.
const (
	Full        BackupType = "full"        // every disk whole
	Incremental BackupType = "incremental" // what changed since the restore point it stands on
	Auto        BackupType = "auto"        // of a request: incremental where there is such a restore point, else full
)

// BackupState is where a backup stands.
type BackupState string

// The states of a backup, in the order in which they follow each other.
const (
	Queued     BackupState = "queued"     // on record, waiting for its turn
	Preparing  BackupState = "preparing"  // ports are leased, nothing else is done
	Exporting  BackupState = "exporting"  // images are being made and served
	Calling    BackupState = "calling"    // the SNA is being asked
	Unresolved BackupState = "unresolved" // the SNA may or may not have heard; it is not asked again
	Running    BackupState = "running"    // data comes in
	Finishing  BackupState = "finishing"  // every disk was reported; images are being checked
	Completed  BackupState = "completed"  // a restore point exists
	Undoing    BackupState = "undoing"    // exports and images are being removed
	Failed     BackupState = "failed"     // nothing is left of it but the record and its Failure
	Cancelled  BackupState = "cancelled"  // as Failed, because somebody asked for it
	Deleting   BackupState = "deleting"   // it has ended and is being removed, record and all
)

// Ended says whether the backup will not change any more, unless it is deleted.
func (s BackupState) Ended() bool {
	return s == Completed || s == Failed || s == Cancelled || s == Deleting
}

// StartRequest asks for a backup of a whole VM: every disk of it, from one snapshot. There is no way to ask for one
// disk; a request with a disk_id is refused with [ReasonDiskIDGiven].
type StartRequest struct {
	VMName       string            `json:"vm_name"`
	BackupType   BackupType        `json:"backup_type" enum:"full,incremental,auto"`
	RepositoryID string            `json:"repository_id,omitempty"` // "" is the configured default
	PolicyID     string            `json:"policy_id,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`

	// RequestID is the caller's own mark of this request. A request that repeats the mark of an earlier one starts
	// nothing and gets that one's backup: it makes a start safe to repeat when the answer was lost. The mark stands for that
	// one attempt for good: if it failed, be it that the agent crashed in the midst of it, the same failure is the answer.
	// Who wants another attempt asks with a new mark.
	RequestID string `json:"request_id,omitempty"`

	Queue     bool  `json:"queue,omitempty"`      // wait for a turn when there is no room, instead of being refused
	RateLimit int64 `json:"rate_limit,omitempty"` // bytes per second and disk; 0 is the repository's own limit
}

// StartResponse is the backup that was started.
type StartResponse struct {
	BackupID    string       `json:"backup_id"`
	VMContextID string       `json:"vm_context_id"`
	VMName      string       `json:"vm_name"`
	DiskResults []DiskResult `json:"disk_results"`

	// NBDTargetsString is what the SNA was given: disk key and NBD URL of every disk,
	// "2000:nbd://127.0.0.1:10105/test-vm-disk0,2001:nbd://…".
	NBDTargetsString string     `json:"nbd_targets_string"`
	BackupType       BackupType `json:"backup_type"`
	RepositoryID     string     `json:"repository_id"`
	PolicyID         string     `json:"policy_id,omitempty"`

	// Status is [StatusStarted]; "queued" for a backup that waits for its turn, which has no disk results yet; and for a
	// repeated RequestID whose backup has ended, the state it ended in.
	Status           string            `json:"status"`
	BytesTransferred uint64            `json:"bytes_transferred"` // received so far, on the wire
	TotalBytes       int64             `json:"total_bytes"`       // sum of the disks' capacities
	ErrorMessage     string            `json:"error_message,omitempty"`
	CreatedAt        time.Time         `json:"created_at"` // RFC 3339, UTC
	Tags             map[string]string `json:"tags,omitempty"`
}

// StatusStarted is the Status of a backup that is under way.
const StatusStarted = "started"

// DiskResult is what a start did for one disk.
type DiskResult struct {
	DiskID        int        `json:"disk_id"`
	NBDPort       uint16     `json:"nbd_port"`
	NBDExportName string     `json:"nbd_export_name"`
	QCOW2Path     string     `json:"qcow2_path"`
	QemuNBDPID    int        `json:"qemu_nbd_pid"`
	Status        DiskStatus `json:"status" enum:"port_allocated,qemu_started,failed"`
	ErrorMessage  string     `json:"error_message,omitempty"`
}

// DiskStatus is how far the export of one disk has come.
type DiskStatus string

// The statuses of a disk.
const (
	PortAllocated DiskStatus = "port_allocated"
	QemuStarted   DiskStatus = "qemu_started" // qemu-nbd runs and answered an NBD handshake with the right size
	DiskFailed    DiskStatus = "failed"
)

// BackupRef names a backup.
type BackupRef struct {
	BackupID string `json:"backup_id"`
}

// DeleteRequest asks that a backup which has ended be removed: restore point and record.
type DeleteRequest struct {
	BackupID  string `json:"backup_id"`
	MissingOK bool   `json:"missing_ok,omitempty"` // also when the directory of a restore point is not where it must be
}

// Backup is the record of one run of one VM.
type Backup struct {
	BackupID         string            `json:"backup_id"`
	VMContextID      string            `json:"vm_context_id"`
	VMName           string            `json:"vm_name"`
	BackupType       BackupType        `json:"backup_type"`
	ParentBackupID   string            `json:"parent_backup_id,omitempty"` // of an incremental: the restore point it stands on
	RepositoryID     string            `json:"repository_id"`
	PolicyID         string            `json:"policy_id,omitempty"`
	RequestID        string            `json:"request_id,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	RateLimit        int64             `json:"rate_limit,omitempty"` // bytes per second and disk; 0 is no limit
	State            BackupState       `json:"state"`
	Failure          *Failure          `json:"failure,omitempty"` // why it failed or is being undone
	Directory        string            `json:"directory"`         // absolute path of the images on the hub
	Disks            []BackupDisk      `json:"disks"`
	RemovedDisks     []int             `json:"removed_disks,omitempty"` // disks of the parent that the VM has no more
	NBDTargetsString string            `json:"nbd_targets_string"`
	BytesTransferred uint64            `json:"bytes_transferred"`  // sum of the disks' received_bytes
	TotalBytes       int64             `json:"total_bytes"`        // sum of the disks' capacities
	SNAPID           int               `json:"sna_pid,omitempty"`  // process of the copy on the SNA, as it reported it
	Sequence         uint64            `json:"sequence,omitempty"` // the order in which the restore points of a VM in a repository were made
	CreatedAt        time.Time         `json:"created_at"`
	FutureDated      bool              `json:"future_dated,omitempty"` // created_at lies in the future: the clock was wrong, or is
	UpdatedAt        time.Time         `json:"updated_at"`
	CalledAt         time.Time         `json:"called_at,omitzero"` // when the SNA was asked
	SeenAt           time.Time         `json:"seen_at,omitzero"`   // first sign of life of the copy
	EndedAt          time.Time         `json:"ended_at,omitzero"`
	Verified         *Verification     `json:"verified,omitempty"` // of a restore point: what was found when its files were last looked at

	// FullWhy says why a backup of type auto is a full one although the VM has restore points.
	FullWhy string `json:"full_why,omitempty"`
	// RefreshError says why the VM's disks could not be looked up before the backup: it holds those that were on record.
	RefreshError string `json:"refresh_error,omitempty"`
	// UnknownDiskAt is when the client asked about a disk that is not on record, after all others: the backup fails.
	UnknownDiskAt time.Time `json:"unknown_disk_at,omitzero"`
	// InheritedFrom are the damaged restore points that it stands on, the nearest first: it is damaged because they are.
	InheritedFrom []string `json:"inherited_from,omitempty"`

	// CooldownUntil is set when the client on the SNA may still be running although the backup has ended: the VM and
	// its ports are not used again before. It moves on while that client still reports.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`

	// SnapshotMayRemain: the backup ended in the midst of the client's work, so that its snapshot of the VM, SnapshotName, may
	// never have been removed. What became of it only the vCenter knows.
	SnapshotMayRemain bool   `json:"snapshot_may_remain,omitempty"`
	SnapshotName      string `json:"snapshot_name,omitempty"`

	Rewritten *Rewritten `json:"rewritten,omitempty"` // it was written anew, to take in what it stood on
	Rewrite   *Rewrite   `json:"rewrite,omitempty"`   // only in the answer to backup.get, while that goes on

	// Stalled says why the backup does not go on at the moment, only in the answer to backup.get: a step fails and is tried again, as while
	// the agent's database cannot be written. Nothing is lost by that.
	Stalled string `json:"stalled,omitempty"`

	// Progress is there only in the answer to backup.get, while the backup is active and its exports can be asked.
	Progress *Progress `json:"progress,omitempty"`
}

// Damaged says whether a restore point cannot be relied on: a file of it, or of what it stands on, is known to be damaged.
func (b Backup) Damaged() bool { return isDamaged(b.Verified, b.InheritedFrom) }

// BackupDisk is what one backup does with one disk.
type BackupDisk struct {
	DiskID        int    `json:"disk_id"`
	DiskKey       int    `json:"disk_key"` // VMware's VirtualDisk.Key, by which the SNA finds the disk
	CapacityBytes int64  `json:"capacity_bytes"`
	Content       string `json:"content,omitempty"`          // of the image: "full", or "incremental" for what differs from the parent
	Change        string `json:"change,omitempty"`           // against the parent: "same", "grown", "added" or "replaced"
	Backing       string `json:"backing,omitempty"`          // the parent's image, relative to the directory of this one
	ParentChange  string `json:"parent_change_id,omitempty"` // from which the changes are copied
	IO            string `json:"io,omitempty"`               // QEMU's cache and aio modes of the exporter
	EncryptionKey string `json:"encryption_key,omitempty"`   // name of the key that the image is encrypted with; "" if it is plain
	NBDPort       uint16 `json:"nbd_port"`
	NBDExportName string `json:"nbd_export_name"`
	QCOW2Path     string `json:"qcow2_path"`
	Unit          string `json:"unit"`                    // systemd unit of the exporter, without suffix
	InvocationID  string `json:"invocation_id,omitempty"` // of the unit, as journalctl knows it
	QemuNBDPID    int    `json:"qemu_nbd_pid,omitempty"`
	ReceivedBytes uint64 `json:"received_bytes"` // on the wire; with sna.accept_write_zeroes, zeroes are a few bytes, so it is no progress in itself
	Complete      bool   `json:"complete"`       // the SNA reported the disk complete
	ChangeID      string `json:"change_id,omitempty"`
	Copied        string `json:"copied,omitempty"`     // "changes", or "whole" from beginning to end; known when every disk is complete
	CopiedWhy     string `json:"copied_why,omitempty"` // for a person: why so
	CopyOrder     int    `json:"copy_order,omitempty"` // as which disk, from 1, it was reported complete
	Result        string `json:"result,omitempty"`     // systemd's Result of the ended exporter; "success" or a failure
	ExitStatus    int    `json:"exit_status,omitempty"`
}

// Failure is why a backup failed. Reason is one of the Reason constants.
type Failure struct {
	Reason  Reason   `json:"reason"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"` // what to do about it
	DiskID  *int     `json:"disk_id,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Journal []string `json:"journal,omitempty"` // last journal lines of the unit
}

// BackupQuery selects backups, the newest first by created_at, whatever clock gave that: sequence says in which order they were made.
type BackupQuery struct {
	VMName string      `json:"vm_name,omitempty"` // "" is every VM
	State  BackupState `json:"state,omitempty" enum:"queued,preparing,exporting,calling,unresolved,running,finishing,completed,undoing,failed,cancelled,deleting"`
	Cursor string      `json:"cursor,omitempty"` // NextCursor of the page before; "" is the first page
	Limit  int         `json:"limit,omitempty"`  // 1 to 1000; 0 is 100

	RepositoryID string    `json:"repository_id,omitempty"` // "" is every repository
	Since        time.Time `json:"since,omitzero"`          // created then or later
	Until        time.Time `json:"until,omitzero"`          // created before

	Tags    map[string]string `json:"tags,omitempty"`    // only what has all of these tags; "" stands for any value
	Damaged bool              `json:"damaged,omitempty"` // only restore points that are known to be damaged, or stand on one that is
}

// BackupPage is one page of a list of backups. A page by repository or tag may be short, or empty, although there
// is a next one.
type BackupPage struct {
	Backups    []Backup `json:"backups"`
	NextCursor string   `json:"next_cursor,omitempty"` // "" on the last page
}

// CompleteRequest reports that one disk of a backup was copied whole.
type CompleteRequest struct {
	BackupID         string `json:"backup_id"`
	DiskID           int    `json:"disk_id"`
	ChangeID         string `json:"change_id"`                   // VMware's change id of the disk in the snapshot that was copied
	BytesTransferred int64  `json:"bytes_transferred,omitempty"` // as the sender counted; not used
}

// ChangeIDRequest asks, for a backup client, from which change id it may copy. A client asks about disk 0 until it has connected to
// the export of a disk, and then about that one; what it asks tells what it is about to do.
type ChangeIDRequest struct {
	VMName string `json:"vm_name"` // last segment of the VM's inventory path
	DiskID int    `json:"disk_id"`
}

// ChangeIDResponse answers a ChangeIDRequest. A ChangeID that is empty, or is none of VMware's, means that the disk has to be copied
// whole.
type ChangeIDResponse struct {
	VMName   string `json:"vm_name"`
	DiskID   int    `json:"disk_id"`
	ChangeID string `json:"change_id"`
	BackupID string `json:"backup_id"` // the restore point that the change id comes from; "" without one
	Message  string `json:"message"`
}
