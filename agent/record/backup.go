package record

import (
	"cmp"
	"time"
)

// Type says how much of the VM is to be copied.
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
	Parent        string            `json:"parent,omitempty"` // of an incremental: the restore point it stands on
	Repository    string            `json:"repository_id"`
	RequestID     string            `json:"request_id,omitempty"` // the caller's own mark: a repeated one gets the first answer
	Policy        string            `json:"policy_id,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	RateLimit     int64             `json:"rate_limit,omitempty"` // bytes per second that each export may take in; 0 = no limit
	Queued        bool              `json:"queued,omitempty"`     // it waited for its turn: whoever asked for it has been told so
	State         State             `json:"state"`
	Directory     string            `json:"directory"` // absolute path of the images' directory
	Targets       string            `json:"nbd_targets,omitempty"`
	Runs          []DiskRun         `json:"disks"`                    // in the order of VM.Disks
	RemovedDisks  []int             `json:"removed_disks,omitempty"`  // of an incremental: disks of the parent that the VM has no more
	SNAPID        int               `json:"sna_pid,omitempty"`        // process id of SBC on the SNA, as it said
	CalledAt      time.Time         `json:"called_at,omitzero"`       // when the one request to the SNA was about to leave
	AcceptedAt    time.Time         `json:"accepted_at,omitzero"`     // when the SNA answered that it had begun
	NotStarted    bool              `json:"not_started,omitempty"`    // the SNA was not reached or refused: no SBC is on its way
	BootID        string            `json:"boot_id,omitempty"`        // of the host, when the exports were begun: they do not outlive it
	SeenAt        time.Time         `json:"seen_at,omitzero"`         // first sign of life of its SBC: a connection or a callback
	PublishingAt  time.Time         `json:"publishing_at,omitzero"`   // from then on its manifest may stand: too late to cancel
	DirectoryMade bool              `json:"directory_made,omitempty"` // Directory was made by this backup, so that undoing may remove it
	Failure       *Failure          `json:"failure,omitempty"`        // why it failed or is undone; nil otherwise
	Sequence      uint64            `json:"sequence,omitempty"`       // the order in which backups were made, which no clock gives
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
	EndedAt       time.Time         `json:"ended_at,omitzero"`

	Verified *Verification `json:"verified,omitempty"` // of a restore point: what was found when its files were last looked at

	// DamageBelow are the damaged restore points that it stands on, the nearest first. It follows from the records of the chain:
	// whoever reads a record finds it out, and it is never stored.
	DamageBelow []string `json:"-"`

	// CooldownUntil is set on a backup whose SBC may still be on its way when the backup has ended: until then the VM
	// and the ports are not used again.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`

	// FullWhy says, of a backup that was asked for with type auto, why it is a full one although the VM has restore points.
	FullWhy string `json:"full_why,omitempty"`
	// RefreshError says why the VM's disks could not be looked up before the backup: those on record were backed up.
	RefreshError string `json:"refresh_error,omitempty"`
	// ZeroesRefused says that its exports refused WRITE_ZEROES: the client has read all that it calls zero. Without it, as in the
	// backups of older agents, data between the client's samples may be missing, also from what stands on this backup.
	ZeroesRefused bool `json:"zeroes_refused,omitempty"`
	// UnknownDiskAt is when SBC asked about one more disk after it had reported every disk on record: vCenter has a disk that
	// has no export, so what was copied is not the whole VM.
	UnknownDiskAt time.Time `json:"unknown_disk_at,omitzero"`
	// SnapshotMayRemain: the backup ended in the midst of SBC's work, so the VM may still have the snapshot SnapshotName.
	SnapshotMayRemain bool `json:"snapshot_may_remain,omitempty"`

	Merge  *Merge  `json:"rewrite,omitempty"`   // it is being given other ground to stand on; nil otherwise
	Merged *Merged `json:"rewritten,omitempty"` // it was given other ground to stand on than it was made on
}

// A Rewrite is the intent to put a restore point on other ground: it is on record from before anything is made until all is
// done, so that whatever cuts it short, it is known what may be there.
type Merge struct {
	NewParent  string    `json:"onto,omitempty"` // the ancestor that it will stand on; "" = on nothing
	StartedAt  time.Time `json:"started_at"`
	Committing bool      `json:"swapping,omitempty"` // its directory is being exchanged: nothing may begin to read it
}

// Rewritten is what became of a restore point whose images were written anew from those of a chain. What they hold is what they
// held before.
type Merged struct {
	At        time.Time `json:"at"`                  // the last time
	Synthetic bool      `json:"synthetic,omitempty"` // it is a full backup that was made from an incremental and all it stood on
	Points    int       `json:"merged"`              // how many restore points have been merged into it
}

// Content says what an image holds.
type Content string

// The contents of an image.
const (
	WholeDisk Content = "full"        // the disk from beginning to end
	Changes   Content = "incremental" // what differs from the backing image
)

// Change says how a disk of an incremental differs in shape from that of its parent.
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
	Change         Change  `json:"change,omitempty"`           // of an incremental: the disk against the parent's
	Backing        string  `json:"backing,omitempty"`          // path of the backing image, relative to the image's directory
	ParentChangeID string  `json:"parent_change_id,omitempty"` // from which the changes are copied
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
	AsChanges      bool    `json:"as_changes,omitempty"`     // SBC has asked after it had connected: it copies the changes since ParentChangeID
	Order          int     `json:"order,omitempty"`          // as which disk, from 1, SBC reported it: the order in which it walks the disks
	Copied         Copied  `json:"copied,omitempty"`         // known once every disk was reported
	CopiedWhy      string  `json:"copied_why,omitempty"`     // for a person
	ReceivedBytes  uint64  `json:"received_bytes,omitempty"` // bytes on the wire to the export, saved before its socket stopped
	Flushed        bool    `json:"flushed,omitempty"`        // everything it was given is known to be on the disk
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

// Accepted says whether the SNA is known to have begun the run: it said so, or SBC was seen.
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

// A Failure is the reason of a backup that failed, kept with its record.
type Failure struct {
	Reason  string   `json:"reason"`         // stable word, as in the RPC error's data
	Message string   `json:"message"`        // for a person: what failed
	Hint    string   `json:"hint,omitempty"` // what to do about it
	DiskID  *int     `json:"disk_id,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Journal []string `json:"journal,omitempty"` // the unit's last journal lines
}

// A Lease is the right of one disk of one backup, or of one restore, to one TCP port. Its nonce is part of the unit's name,
// committed before the unit is started, so that no unit is ever nameless after a crash.
type Lease struct {
	Port      uint16    `json:"port"`
	BackupID  string    `json:"backup_id,omitempty"`  // who holds it: a backup
	RestoreID string    `json:"restore_id,omitempty"` // or a restore
	DiskID    int       `json:"disk_id"`
	Nonce     string    `json:"nonce"`
	LeasedAt  time.Time `json:"leased_at"`
}

// Owner is the id of the backup or of the restore that holds the lease. No backup has the id of a restore.
func (l Lease) Owner() string { return cmp.Or(l.BackupID, l.RestoreID) }
