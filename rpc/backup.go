package rpc

import "time"

// BackupType says how much of a VM is copied.
type BackupType string

// The types of a backup.
const (
	Full        BackupType = "full"        // all of every disk
	Incremental BackupType = "incremental" // what changed since its parent, an earlier restore point
	Auto        BackupType = "auto"        // of a request: incremental if there is a parent, else full
)

// BackupState is the state of a backup.
type BackupState string

// The states of a backup, in their order.
const (
	Queued     BackupState = "queued"     // on record, waits in the queue
	Preparing  BackupState = "preparing"  // ports are leased, nothing else is done yet
	Exporting  BackupState = "exporting"  // images are created and exported
	Calling    BackupState = "calling"    // the SNA is asked to start the copy
	Unresolved BackupState = "unresolved" // the SNA did not answer: it may or may not have started the copy, and is not asked again
	Running    BackupState = "running"    // data is received
	Finishing  BackupState = "finishing"  // every disk is reported complete; the images are checked
	Completed  BackupState = "completed"  // a restore point exists
	Undoing    BackupState = "undoing"    // exports and images are removed
	Failed     BackupState = "failed"     // only the record is left, with its Failure
	Cancelled  BackupState = "cancelled"  // as failed, by request
	Deleting   BackupState = "deleting"   // it has ended, and its restore point and record are removed
)

// Ended says whether the backup has ended: it only changes again when it is deleted.
func (s BackupState) Ended() bool {
	return s == Completed || s == Failed || s == Cancelled || s == Deleting
}

// StartRequest asks for a backup of a whole VM: all its disks, from one snapshot. A single disk cannot be backed up: a
// request with a disk_id is refused with [ReasonDiskIDGiven].
type StartRequest struct {
	VMName       string            `json:"vm_name"`
	BackupType   BackupType        `json:"backup_type,omitempty" enum:"full,incremental,auto"` // "" is auto
	RepositoryID string            `json:"repository_id,omitempty"`                            // "" is the default repository of the configuration
	PolicyID     string            `json:"policy_id,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`

	// RequestID is the caller's own id of this request. It makes a start safe to repeat when the answer was lost: a request
	// with the id of an earlier one starts nothing, and is answered with the backup of the earlier one, even if that has
	// failed, for example because the agent crashed. For another attempt use a new id.
	RequestID string `json:"request_id,omitempty"`

	Queue     bool  `json:"queue,omitempty"`      // wait in the queue when a limit is reached, instead of being refused
	RateLimit int64 `json:"rate_limit,omitempty"` // bytes per second and disk; 0 is the limit of the repository
}

// StartResponse is the backup that was started.
type StartResponse struct {
	BackupID    string       `json:"backup_id"`
	VMContextID string       `json:"vm_context_id"`
	VMName      string       `json:"vm_name"`
	DiskResults []DiskResult `json:"disk_results"`

	// NBDTargetsString is what the SNA got: disk key and NBD URL of every disk,
	// "2000:nbd://127.0.0.1:10105/test-vm-disk0,2001:nbd://…".
	NBDTargetsString string     `json:"nbd_targets_string"`
	BackupType       BackupType `json:"backup_type"`
	RepositoryID     string     `json:"repository_id"`
	PolicyID         string     `json:"policy_id,omitempty"`

	// Status is [StatusStarted]; "queued" for a backup in the queue, which has no disk results yet; and for a repeated
	// RequestID whose backup has ended, the state in which it ended.
	Status           string            `json:"status"`
	BytesTransferred uint64            `json:"bytes_transferred"` // received until now, on the network
	TotalBytes       int64             `json:"total_bytes"`       // sum of the disks' capacities
	ErrorMessage     string            `json:"error_message,omitempty"`
	CreatedAt        time.Time         `json:"created_at"` // RFC 3339, UTC
	Tags             map[string]string `json:"tags,omitempty"`
}

// StatusStarted is the Status of a backup that is in progress.
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

// DiskStatus is the progress of one disk's export.
type DiskStatus string

// The statuses of a disk.
const (
	PortAllocated DiskStatus = "port_allocated"
	QemuStarted   DiskStatus = "qemu_started" // qemu-nbd runs, and answered an NBD handshake with the right size
	DiskFailed    DiskStatus = "failed"
)

// BackupRef names a backup.
type BackupRef struct {
	BackupID string `json:"backup_id"`
}

// DeleteRequest asks to delete a backup that has ended: its restore point and its record.
type DeleteRequest struct {
	BackupID  string `json:"backup_id"`
	MissingOK bool   `json:"missing_ok,omitempty"` // also when the directory of the restore point is missing
}

// Backup is the record of one backup of one VM.
type Backup struct {
	BackupID         string            `json:"backup_id"`
	VMContextID      string            `json:"vm_context_id"`
	VMName           string            `json:"vm_name"`
	BackupType       BackupType        `json:"backup_type"`
	ParentBackupID   string            `json:"parent_backup_id,omitempty"` // of an incremental: the restore point it is based on
	RepositoryID     string            `json:"repository_id"`
	PolicyID         string            `json:"policy_id,omitempty"`
	RequestID        string            `json:"request_id,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	RateLimit        int64             `json:"rate_limit,omitempty"` // bytes per second and disk; 0 is no limit
	State            BackupState       `json:"state"`
	Failure          *Failure          `json:"failure,omitempty"` // why it failed or is undone
	Directory        string            `json:"directory"`         // absolute path of the images
	Disks            []BackupDisk      `json:"disks"`
	RemovedDisks     []int             `json:"removed_disks,omitempty"` // disks of the parent that the VM does not have any more
	NBDTargetsString string            `json:"nbd_targets_string"`
	BytesTransferred uint64            `json:"bytes_transferred"`  // sum of the disks' received_bytes
	CopiedBytes      int64             `json:"copied_bytes"`       // of the disks, as far as known: zeroes that are not sent are among them
	TotalBytes       int64             `json:"total_bytes"`        // sum of the disks' capacities
	SNAPID           int               `json:"sna_pid,omitempty"`  // process id of the client on the SNA, as the SNA reported it
	Sequence         uint64            `json:"sequence,omitempty"` // order in which the restore points of a VM in a repository were made
	CreatedAt        time.Time         `json:"created_at"`
	FutureDated      bool              `json:"future_dated,omitempty"` // created_at is in the future: a clock was or is wrong
	UpdatedAt        time.Time         `json:"updated_at"`
	CalledAt         time.Time         `json:"called_at,omitzero"` // when the SNA was asked to start the copy
	SeenAt           time.Time         `json:"seen_at,omitzero"`   // when the client was first noticed
	EndedAt          time.Time         `json:"ended_at,omitzero"`
	Verified         *Verification     `json:"verified,omitempty"` // of a restore point: the result of its last verification

	// FullWhy says why a backup of type auto became a full one although the VM has restore points.
	FullWhy string `json:"full_why,omitempty"`
	// RefreshError says why the VM's disks could not be looked up before the backup. The disks on record were backed up.
	RefreshError string `json:"refresh_error,omitempty"`
	// UnknownDiskAt is when the client asked, after all other disks, about one that is not on record. The backup then fails.
	UnknownDiskAt time.Time `json:"unknown_disk_at,omitzero"`
	// InheritedFrom are the damaged restore points of its chain, the nearest first. It is damaged because they are.
	InheritedFrom []string `json:"inherited_from,omitempty"`

	// CooldownUntil is set when the backup has ended and its client on the SNA may still be running. Until then the VM and
	// its ports are not used again. It moves on while the client still reports.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`

	// SnapshotMayRemain: the backup ended while its client was at work. The client's snapshot of the VM, SnapshotName, may
	// still exist: look in vCenter.
	SnapshotMayRemain bool   `json:"snapshot_may_remain,omitempty"`
	SnapshotName      string `json:"snapshot_name,omitempty"`

	Merged *Merged `json:"rewritten,omitempty"` // its last merge
	Merge  *Merge  `json:"rewrite,omitempty"`   // its merge in progress; only in the answer to backup.get

	// WaitsFor says what a queued backup waits for; "" if it is not queued.
	WaitsFor string `json:"waits_for,omitempty"`

	// Stalled says why the backup makes no progress at the moment: a step fails and is tried again, for example while the agent's
	// database cannot be written. Nothing is lost. Only in the answer to backup.get.
	Stalled string `json:"stalled,omitempty"`

	// Progress is the progress of an active backup whose exports answer. Only in the answers to backup.get and backup.list.
	Progress *Progress `json:"progress,omitempty"`
}

// Damaged says whether a file of the restore point or of its chain is known to be damaged.
func (b Backup) Damaged() bool { return isDamaged(b.Verified, b.InheritedFrom) }

// BackupDisk is one disk of one backup.
type BackupDisk struct {
	DiskID        int    `json:"disk_id"`
	DiskKey       int    `json:"disk_key"` // VMware's VirtualDisk.Key, by which the SNA identifies the disk
	CapacityBytes int64  `json:"capacity_bytes"`
	Content       string `json:"content,omitempty"`          // of the image: "full", or "incremental" for the changes against the parent
	Change        string `json:"change,omitempty"`           // of the disk, against the parent: "same", "grown", "added" or "replaced"
	Backing       string `json:"backing,omitempty"`          // the parent's image, relative to this directory
	ParentChange  string `json:"parent_change_id,omitempty"` // change id since which the changes are copied
	IO            string `json:"io,omitempty"`               // QEMU's cache and aio modes of the exporter
	EncryptionKey string `json:"encryption_key,omitempty"`   // name of the image's encryption key; "" if it is not encrypted
	NBDPort       uint16 `json:"nbd_port"`
	NBDExportName string `json:"nbd_export_name"`
	QCOW2Path     string `json:"qcow2_path"`
	Unit          string `json:"unit"`                    // systemd unit of the exporter, without suffix
	InvocationID  string `json:"invocation_id,omitempty"` // of the unit, for journalctl
	QemuNBDPID    int    `json:"qemu_nbd_pid,omitempty"`
	ReceivedBytes uint64 `json:"received_bytes"`          // on the network; with sna.accept_write_zeroes a run of zeroes is a few bytes, so this is no measure of progress
	WrittenBytes  int64  `json:"written_bytes,omitempty"` // disk space of the image as the client wrote it, if the agent reduced it to what differs from the parent
	KeptBytes     int64  `json:"kept_bytes,omitempty"`    // disk space of the image after that
	CopiedBytes   int64  `json:"copied_bytes"`            // of the disk, as far as known, otherwise received_bytes
	Complete      bool   `json:"complete"`                // the client reported the disk complete
	ChangeID      string `json:"change_id,omitempty"`
	Copied        string `json:"copied,omitempty"`     // "changes", or "whole" for the whole disk; known when every disk is complete
	CopiedWhy     string `json:"copied_why,omitempty"` // why, for a person
	CopyOrder     int    `json:"copy_order,omitempty"` // position in the order of completion, from 1
	Result        string `json:"result,omitempty"`     // systemd's Result of the exporter that ended: "success" or a failure
	ExitStatus    int    `json:"exit_status,omitempty"`
}

// Failure says why a backup or a restore failed, or why a restore point was not deleted. Reason is one of the Reason constants.
type Failure struct {
	Reason  Reason   `json:"reason"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"` // what to do about it
	DiskID  *int     `json:"disk_id,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Journal []string `json:"journal,omitempty"` // last journal lines of the unit
}

// BackupQuery selects backups, the newest first by created_at, even if a clock was wrong. The order in which they were made is
// in sequence.
type BackupQuery struct {
	VMName string      `json:"vm_name,omitempty"` // "" is every VM
	State  BackupState `json:"state,omitempty" enum:"queued,preparing,exporting,calling,unresolved,running,finishing,completed,undoing,failed,cancelled,deleting"`
	Cursor string      `json:"cursor,omitempty"` // NextCursor of the previous page; "" is the first page
	Limit  int         `json:"limit,omitempty"`  // 1 to 1000; 0 is 100

	IDPrefix     string    `json:"id_prefix,omitempty"`     // only ids that begin with it
	RepositoryID string    `json:"repository_id,omitempty"` // "" is every repository
	Since        time.Time `json:"since,omitzero"`          // created at this time or later
	Until        time.Time `json:"until,omitzero"`          // created before this time

	Tags    map[string]string `json:"tags,omitempty"`    // only backups with all these tags; "" stands for any value
	Damaged bool              `json:"damaged,omitempty"` // only restore points that are known to be damaged, or whose chain is
}

// BackupPage is one page of a list of backups. A page by repository or tag may be short or empty although there is a
// next one.
type BackupPage struct {
	Backups    []Backup `json:"backups"`
	NextCursor string   `json:"next_cursor,omitempty"` // "" on the last page
}

// CompleteRequest reports that one disk of a backup is complete.
type CompleteRequest struct {
	BackupID         string `json:"backup_id"`
	DiskID           int    `json:"disk_id"`
	ChangeID         string `json:"change_id"`                   // VMware's change id of the disk in the snapshot
	BytesTransferred int64  `json:"bytes_transferred,omitempty"` // as the client counted; not used
}

// ChangeIDRequest is a backup client's question: since which change id may it copy? A client asks about disk 0 until it connects to
// the export of a disk, and then about that disk. So each question tells what the client does next.
type ChangeIDRequest struct {
	VMName string `json:"vm_name"` // last segment of the VM's inventory path
	DiskID int    `json:"disk_id"`
}

// ChangeIDResponse answers a ChangeIDRequest. If ChangeID is empty or not one of VMware's, the whole disk must be copied.
type ChangeIDResponse struct {
	VMName   string `json:"vm_name"`
	DiskID   int    `json:"disk_id"`
	ChangeID string `json:"change_id"`
	BackupID string `json:"backup_id"` // the restore point that has this change id; "" if there is none
	Message  string `json:"message"`
}
