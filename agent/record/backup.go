package record

import (
	"cmp"
	"time"
)

// Type says how much of the VM a backup copies.
type Type string

// The types of a backup.
const (
	Full        Type = "full"
	Incremental Type = "incremental"
	Auto        Type = "auto" // of a request: incremental where there is a parent
)

// A Backup is the record of one run of one VM: every disk of it or none.
type Backup struct {
	ID            string            `json:"backup_id"`
	VM            VM                `json:"vm"` // as it was when the backup was prepared
	Type          Type              `json:"backup_type"`
	Parent        string            `json:"parent,omitempty"` // of an incremental: the restore point that it is based on
	Repository    string            `json:"repository_id"`
	RequestID     string            `json:"request_id,omitempty"` // given by the caller: a repeated request gets the first answer
	Policy        string            `json:"policy_id,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	RateLimit     int64             `json:"rate_limit,omitempty"` // bytes per second that each export accepts; 0 = no limit
	Queued        bool              `json:"queued,omitempty"`     // it waited in the queue, and its caller was told so
	State         State             `json:"state"`
	Directory     string            `json:"directory"` // absolute path of the images' directory
	Targets       string            `json:"nbd_targets,omitempty"`
	Runs          []DiskRun         `json:"disks"`                    // in the order of VM.Disks
	RemovedDisks  []int             `json:"removed_disks,omitempty"`  // of an incremental: disks of the parent that the VM no longer has
	SNAPID        int               `json:"sna_pid,omitempty"`        // process id of SBC on the SNA, as reported
	CalledAt      time.Time         `json:"called_at,omitzero"`       // when the one request to the SNA was about to leave
	AcceptedAt    time.Time         `json:"accepted_at,omitzero"`     // when the SNA answered that it has begun
	NotStarted    bool              `json:"not_started,omitempty"`    // the SNA was not reached, or refused: no SBC was started
	BootID        string            `json:"boot_id,omitempty"`        // of the host, when the exports were started: they end with it
	SeenAt        time.Time         `json:"seen_at,omitzero"`         // first sign of its SBC: a connection or a callback
	PublishingAt  time.Time         `json:"publishing_at,omitzero"`   // from then on its manifest may exist: too late to cancel
	DirectoryMade bool              `json:"directory_made,omitempty"` // this backup made Directory, so undoing may remove it
	Failure       *Failure          `json:"failure,omitempty"`        // why it failed or is being undone; nil otherwise
	Sequence      uint64            `json:"sequence,omitempty"`       // the order in which backups were made, independent of any clock
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
	EndedAt       time.Time         `json:"ended_at,omitzero"`

	Verified *Verification `json:"verified,omitempty"` // of a restore point: what was found when its files were last checked

	// DamageBelow are the damaged restore points of its chain, the nearest first. It is computed from the records of the chain
	// when the record is read, and never stored.
	DamageBelow []string `json:"-"`

	// CooldownUntil is set on a backup whose SBC may still be running when the backup has ended: the VM and the ports cool down
	// until then.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`

	// FullWhy says why a backup of type auto is a full one although the VM has restore points.
	FullWhy string `json:"full_why,omitempty"`
	// RefreshError says why the VM's disks could not be refreshed before the backup: those on record were backed up.
	RefreshError string `json:"refresh_error,omitempty"`
	// ZeroesRefused says that its exports refused WRITE_ZEROES: the client has read all that it reported as zero. Without it, as in
	// the backups of older agents, data between the client's samples may be missing, also in backups based on this one.
	ZeroesRefused bool `json:"zeroes_refused,omitempty"`
	// UnknownDiskAt is when SBC asked about one more disk after it had reported every disk on record: vCenter has a disk without
	// an export, so the backup is not the whole VM.
	UnknownDiskAt time.Time `json:"unknown_disk_at,omitzero"`
	// SnapshotMayRemain says that the backup ended before SBC did, so the VM may still have the snapshot SnapshotName.
	SnapshotMayRemain bool `json:"snapshot_may_remain,omitempty"`

	Merge  *Merge  `json:"rewrite,omitempty"`   // the merge in progress; nil otherwise
	Merged *Merged `json:"rewritten,omitempty"` // the last merge; nil if it was never merged
}

// A Merge is the intent to merge a restore point: to give it a new parent, so that the restore points between can be removed.
// It is on record before the first change and until the last one, so that after an interruption the agent knows what may be
// there.
type Merge struct {
	NewParent  string    `json:"onto,omitempty"` // the restore point of its chain that becomes its parent; "" = none
	StartedAt  time.Time `json:"started_at"`
	Committing bool      `json:"swapping,omitempty"` // the commit of the merge is in progress: nothing may begin to read it
}

// Merged says that a restore point was merged: its images were made again from those of its chain. Its content is unchanged.
type Merged struct {
	At        time.Time `json:"at"`                  // the last time
	Synthetic bool      `json:"synthetic,omitempty"` // it is a synthetic full: it was an incremental, and now has no parent
	Points    int       `json:"merged"`              // how many restore points have been merged into it
}

// Content says what an image holds.
type Content string

// The contents of an image.
const (
	WholeDisk Content = "full"        // the disk from beginning to end
	Changes   Content = "incremental" // what differs from the backing image
)

// Change says how the shape of a disk differs from the parent's.
type Change string

// The changes of a disk.
const (
	Same     Change = "same"     // as large as it was
	Grown    Change = "grown"    // larger than it was
	Added    Change = "added"    // new since the parent: the image holds the whole disk
	Replaced Change = "replaced" // another disk in its place: the image holds it whole
)

// Copied says how SBC copied a disk.
type Copied string

// The ways of a copy.
const (
	CopiedWhole   Copied = "whole"   // from beginning to end
	CopiedChanges Copied = "changes" // what changed since the parent's change id
)

// A DiskRun is what one backup does with one disk.
type DiskRun struct {
	DiskID         int     `json:"disk_id"`
	Key            int     `json:"disk_key"`
	CapacityBytes  int64   `json:"capacity_bytes"`
	Content        Content `json:"content,omitempty"`          // what the image holds
	Change         Change  `json:"change,omitempty"`           // of an incremental: compared with the parent
	Backing        string  `json:"backing,omitempty"`          // path of the backing image, relative to the image's directory
	ParentChangeID string  `json:"parent_change_id,omitempty"` // the changes since it are copied
	KeyID          string  `json:"encryption_key,omitempty"`   // id of the key that the image is encrypted with; "" if it is plain
	IO             string  `json:"io,omitempty"`               // QEMU cache and aio modes of the exporter
	Port           uint16  `json:"nbd_port"`
	ExportName     string  `json:"nbd_export_name"`
	Image          string  `json:"image"`                    // absolute path of the qcow2
	Unit           string  `json:"unit"`                     // name without suffix; carries the lease's nonce
	InvocationID   string  `json:"invocation_id,omitempty"`  // of the exporter that was started for this run
	PID            int     `json:"pid,omitempty"`            // of qemu-nbd
	Connected      bool    `json:"connected,omitempty"`      // a client was seen connected to it
	Complete       bool    `json:"complete,omitempty"`       // SBC reported the disk complete
	ChangeID       string  `json:"change_id,omitempty"`      // as SBC reported it
	AsChanges      bool    `json:"as_changes,omitempty"`     // SBC asked for ParentChangeID after it had connected: it copies the changes since then
	Order          int     `json:"order,omitempty"`          // position, from 1, at which SBC reported it: the order in which SBC copies the disks
	Copied         Copied  `json:"copied,omitempty"`         // known once every disk was reported
	CopiedWhy      string  `json:"copied_why,omitempty"`     // for a person
	ReceivedBytes  uint64  `json:"received_bytes,omitempty"` // bytes on the wire to the export, saved before its socket stopped
	WrittenBytes   int64   `json:"written_bytes,omitempty"`  // disk space of the image as the client wrote it, if it was squeezed since; 0 if it was not
	KeptBytes      int64   `json:"kept_bytes,omitempty"`     // disk space of the squeezed image
	Flushed        bool    `json:"flushed,omitempty"`        // everything it received is on the disk
	Result         string  `json:"result,omitempty"`         // systemd's Result of the ended exporter; "success" or a failure
	ExitStatus     int     `json:"exit_status,omitempty"`
}

// Run returns the run of a disk, or nil.
func (b *Backup) Run(diskID int) *DiskRun {
	for i := range b.Runs {
		if b.Runs[i].DiskID == diskID {
			return &b.Runs[i]
		}
	}
	return nil
}

// SnapshotName is the name that SBC gives the VM's snapshot.
func (b *Backup) SnapshotName() string { return "sbak-" + b.ID }

// Encrypted says whether the images are encrypted. It is all of them or none.
func (b *Backup) Encrypted() bool {
	for _, r := range b.Runs {
		if r.KeyID != "" {
			return true
		}
	}
	return false
}

// Accepted says whether the SNA has begun the run: it said so, or SBC was seen.
func (b *Backup) Accepted() bool { return !b.AcceptedAt.IsZero() || !b.SeenAt.IsZero() }

// AllComplete says whether every disk has been reported complete.
func (b *Backup) AllComplete() bool {
	for _, r := range b.Runs {
		if !r.Complete {
			return false
		}
	}
	return len(b.Runs) > 0
}

// A Failure is why a backup failed. It is part of its record.
type Failure struct {
	Reason  string   `json:"reason"`         // stable word, as in the RPC error's data
	Message string   `json:"message"`        // for people: what failed
	Hint    string   `json:"hint,omitempty"` // what to do about it
	DiskID  *int     `json:"disk_id,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Journal []string `json:"journal,omitempty"` // the unit's last journal lines
}

// A Lease is the right of one disk of a backup or a restore to one TCP port. Its nonce is part of the unit's name. It is
// committed before the unit is started, so that the agent knows every unit after a crash.
type Lease struct {
	Port      uint16    `json:"port"`
	BackupID  string    `json:"backup_id,omitempty"`  // the holder: a backup
	RestoreID string    `json:"restore_id,omitempty"` // or a restore
	DiskID    int       `json:"disk_id"`
	Nonce     string    `json:"nonce"`
	LeasedAt  time.Time `json:"leased_at"`
}

// Owner is the id of the backup or of the restore that holds the lease. No backup has the id of a restore.
func (l Lease) Owner() string { return cmp.Or(l.BackupID, l.RestoreID) }
