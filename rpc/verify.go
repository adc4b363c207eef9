package rpc

import "time"

// VerifyRequest asks whether a restore point, and all it stands on, is still what was written.
type VerifyRequest struct {
	BackupID  string `json:"backup_id"`
	Deep      bool   `json:"deep,omitempty"`       // read every image whole and compare it with its digest
	RateLimit int64  `json:"rate_limit,omitempty"` // bytes per second that are read; 0 is as configured
	Progress  bool   `json:"progress,omitempty"`   // push backup.verify_progress on this connection, once a second, until the answer
}

// VerifyResult is what a verification has found, the worst of its files.
type VerifyResult string

// The results of a verification.
const (
	VerifyOK         VerifyResult = "ok"
	VerifyDamaged    VerifyResult = "damaged"    // files are not what was written
	VerifyIncomplete VerifyResult = "incomplete" // no damage was found, but not everything could be looked at, or compared
)

// FileStatus is what was found of one file.
type FileStatus string

// What can be found of a file.
const (
	FileOK         FileStatus = "ok"
	FileDamaged    FileStatus = "damaged"    // it is not what was written
	FileUnreadable FileStatus = "unreadable" // it could not be looked at, so nothing is known
	FileUndigested FileStatus = "undigested" // it was read, and its manifest, of an older agent, has no digest to compare with
	FileSkipped    FileStatus = "skipped"    // without its manifest nobody knows what it should be
)

// VerifyReport is the result of backup.verify.
type VerifyReport struct {
	BackupID  string       `json:"backup_id"`
	Deep      bool         `json:"deep"`
	Result    VerifyResult `json:"result" enum:"ok,damaged,incomplete"`
	StartedAt time.Time    `json:"started_at"`
	EndedAt   time.Time    `json:"ended_at"`
	ReadBytes int64        `json:"read_bytes"` // of images that were read whole
	Files     []VerifyFile `json:"files"`      // every file of the chain, those of the restore point first
}

// VerifyFile is what was found of one file of a chain: a manifest or an image.
type VerifyFile struct {
	BackupID string     `json:"backup_id"`
	DiskID   *int       `json:"disk_id,omitempty"` // of an image
	Path     string     `json:"path"`              // absolute, on the hub
	Bytes    int64      `json:"bytes,omitempty"`
	Status   FileStatus `json:"status" enum:"ok,damaged,unreadable,undigested,skipped"`
	Problem  string     `json:"problem,omitempty"`
	Hint     string     `json:"hint,omitempty"` // what to do about it
}

// VerifyProgress is how far a verification has come: the params of a backup.verify_progress notification. The bytes are of
// a deep one.
type VerifyProgress struct {
	BackupID   string `json:"backup_id"`
	File       string `json:"file"` // path of what is looked at
	FilesDone  int    `json:"files_done"`
	FilesTotal int    `json:"files_total"`
	BytesDone  int64  `json:"bytes_done"`
	BytesTotal int64  `json:"bytes_total"`
}

// Verification is what is on record of the files of a restore point.
type Verification struct {
	At         time.Time      `json:"at,omitzero"`          // when its files were last looked at; absent also if that is in the future
	DeepAt     time.Time      `json:"deep_at,omitzero"`     // when they were last read whole; as well
	Undigested bool           `json:"undigested,omitempty"` // they were read, and there were no digests to compare them with
	Damage     []VerifyDamage `json:"damage,omitempty"`     // what is known to be wrong
}

// VerifyDamage is what is known to be wrong with one file of a restore point.
type VerifyDamage struct {
	File    string `json:"file"` // name in the restore point's directory
	DiskID  *int   `json:"disk_id,omitempty"`
	Problem string `json:"problem"`
}

// ChainRequest asks for the restore points of a VM and how they stand on one another.
type ChainRequest struct {
	VMName       string `json:"vm_name"`
	RepositoryID string `json:"repository_id,omitempty"` // "" is every repository
}

// Chain is the result of backup.chain: the restore points of a VM, the first made first, whatever their dates.
type Chain struct {
	VMName string       `json:"vm_name"`
	Points []ChainPoint `json:"points"`
}

// ChainPoint is one restore point of a VM.
type ChainPoint struct {
	BackupID       string            `json:"backup_id"`
	ParentBackupID string            `json:"parent_backup_id,omitempty"` // what it stands on; of a full backup none
	BackupType     BackupType        `json:"backup_type"`
	RepositoryID   string            `json:"repository_id"`
	Sequence       uint64            `json:"sequence,omitempty"` // the order in which the restore points of a VM in a repository were made
	CreatedAt      time.Time         `json:"created_at"`
	FutureDated    bool              `json:"future_dated,omitempty"` // created_at lies in the future: the clock was wrong, or is
	EndedAt        time.Time         `json:"ended_at"`
	Tags           map[string]string `json:"tags,omitempty"`
	Disks          int               `json:"disks"`
	TotalBytes     int64             `json:"total_bytes"`       // sum of the disks' capacities
	AllocatedBytes int64             `json:"allocated_bytes"`   // what its images take on the file system now
	Problem        string            `json:"problem,omitempty"` // why its images cannot be found, or its parent is not on record
	Verified       *Verification     `json:"verified,omitempty"`
	InheritedFrom  []string          `json:"inherited_from,omitempty"` // the damaged restore points that it stands on, the nearest first
}

// Damaged says whether it cannot be relied on, as [Backup.Damaged].
func (p ChainPoint) Damaged() bool { return isDamaged(p.Verified, p.InheritedFrom) }

func isDamaged(v *Verification, inherited []string) bool {
	return v != nil && len(v.Damage) > 0 || len(inherited) > 0
}
