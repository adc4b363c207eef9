package rpc

import "time"

// VerifyRequest asks to verify a restore point and its chain: are the files still as they were written?
type VerifyRequest struct {
	BackupID  string `json:"backup_id"`
	Deep      bool   `json:"deep,omitempty"`       // read every image whole and compare it with its digest
	RateLimit int64  `json:"rate_limit,omitempty"` // bytes read per second; 0 is as configured
	Progress  bool   `json:"progress,omitempty"`   // push backup.verify_progress on this connection once a second, until the answer
}

// VerifyResult is the result of a verification: the worst of its files.
type VerifyResult string

// The results of a verification.
const (
	VerifyOK         VerifyResult = "ok"
	VerifyDamaged    VerifyResult = "damaged"    // files are not as they were written
	VerifyIncomplete VerifyResult = "incomplete" // no damage was found, but not everything could be read or compared
)

// FileStatus is the result of a verification for one file.
type FileStatus string

// The results for a file.
const (
	FileOK         FileStatus = "ok"
	FileDamaged    FileStatus = "damaged"    // it is not as it was written
	FileUnreadable FileStatus = "unreadable" // it could not be read: it may be intact or damaged
	FileUndigested FileStatus = "undigested" // it was read, but the manifest of an older agent has no digest to compare it with
	FileSkipped    FileStatus = "skipped"    // it could not be checked, because its manifest is damaged
)

// VerifyReport is the result of backup.verify.
type VerifyReport struct {
	BackupID  string       `json:"backup_id"`
	Deep      bool         `json:"deep"`
	Result    VerifyResult `json:"result" enum:"ok,damaged,incomplete"`
	StartedAt time.Time    `json:"started_at"`
	EndedAt   time.Time    `json:"ended_at"`
	ReadBytes int64        `json:"read_bytes"` // bytes of images that were read whole
	Files     []VerifyFile `json:"files"`      // every file of the chain, those of the restore point first
}

// VerifyFile is the result for one file of a chain: a manifest or an image.
type VerifyFile struct {
	BackupID string     `json:"backup_id"`
	DiskID   *int       `json:"disk_id,omitempty"` // of an image
	Path     string     `json:"path"`              // absolute
	Bytes    int64      `json:"bytes,omitempty"`
	Status   FileStatus `json:"status" enum:"ok,damaged,unreadable,undigested,skipped"`
	Problem  string     `json:"problem,omitempty"`
	Hint     string     `json:"hint,omitempty"` // what to do about it
}

// VerifyProgress is the progress of a verification: the params of a backup.verify_progress notification. Bytes are counted by a
// deep verification only.
type VerifyProgress struct {
	BackupID   string `json:"backup_id"`
	File       string `json:"file"` // path of the current file
	FilesDone  int    `json:"files_done"`
	FilesTotal int    `json:"files_total"`
	BytesDone  int64  `json:"bytes_done"`
	BytesTotal int64  `json:"bytes_total"`
}

// Verification is the recorded result of the last verification of a restore point.
type Verification struct {
	At         time.Time      `json:"at,omitzero"`          // when its files were last checked; absent also if that is in the future
	DeepAt     time.Time      `json:"deep_at,omitzero"`     // when they were last read whole; likewise
	Undigested bool           `json:"undigested,omitempty"` // they were read, but there were no digests to compare them with
	Damage     []VerifyDamage `json:"damage,omitempty"`     // known damage
}

// VerifyDamage is the known damage of one file of a restore point.
type VerifyDamage struct {
	File    string `json:"file"` // name in the directory of the restore point
	DiskID  *int   `json:"disk_id,omitempty"`
	Problem string `json:"problem"`
}

// ChainRequest asks for the restore points of a VM and their parents.
type ChainRequest struct {
	VMName       string `json:"vm_name"`
	RepositoryID string `json:"repository_id,omitempty"` // "" is every repository
}

// Chain is the result of backup.chain: the restore points of a VM, in the order in which they were made.
type Chain struct {
	VMName string       `json:"vm_name"`
	Points []ChainPoint `json:"points"`
}

// ChainPoint is one restore point of a VM.
type ChainPoint struct {
	BackupID       string            `json:"backup_id"`
	ParentBackupID string            `json:"parent_backup_id,omitempty"` // the restore point it is based on; a full backup has none
	BackupType     BackupType        `json:"backup_type"`
	RepositoryID   string            `json:"repository_id"`
	Sequence       uint64            `json:"sequence,omitempty"` // order in which the restore points of a VM in a repository were made
	CreatedAt      time.Time         `json:"created_at"`
	FutureDated    bool              `json:"future_dated,omitempty"` // created_at is in the future: a clock was or is wrong
	EndedAt        time.Time         `json:"ended_at"`
	Tags           map[string]string `json:"tags,omitempty"`
	Disks          int               `json:"disks"`
	TotalBytes     int64             `json:"total_bytes"`       // sum of the disks' capacities
	AllocatedBytes int64             `json:"allocated_bytes"`   // disk space that its images use now
	Problem        string            `json:"problem,omitempty"` // why its images or its parent cannot be found
	Verified       *Verification     `json:"verified,omitempty"`
	InheritedFrom  []string          `json:"inherited_from,omitempty"` // the damaged restore points of its chain, the nearest first
}

// Damaged says whether a file of the restore point or of its chain is known to be damaged, as [Backup.Damaged].
func (p ChainPoint) Damaged() bool { return isDamaged(p.Verified, p.InheritedFrom) }

func isDamaged(v *Verification, inherited []string) bool {
	return v != nil && len(v.Damage) > 0 || len(inherited) > 0
}
