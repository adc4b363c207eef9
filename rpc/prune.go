package rpc

import "time"

// PruneRequest asks that the retention policies of the configuration be applied.
type PruneRequest struct {
	VMName       string `json:"vm_name,omitempty"`       // "" is every VM
	RepositoryID string `json:"repository_id,omitempty"` // "" is every repository
	DryRun       bool   `json:"dry_run,omitempty"`       // only tell what would be done
	All          bool   `json:"all,omitempty"`           // tell of the restore points that are kept, too, and why
}

// PruneAction is what becomes of a restore point.
type PruneAction string

// The actions.
const (
	PruneKeep   PruneAction = "keep"
	PruneDelete PruneAction = "delete" // no rule keeps it, and nothing that is kept stands on it
	PruneMerge  PruneAction = "merge"  // no rule keeps it; what stands on it takes in what it holds, and then it is deleted
	PruneWait   PruneAction = "wait"   // no rule keeps it, and it stays for now
)

// PruneReport is what was done, or, of a dry run, would be.
type PruneReport struct {
	DryRun       bool          `json:"dry_run"`
	Points       []PrunedPoint `json:"points"`         // by VM and repository, the newest first
	KeptCount    int           `json:"kept_count"`     // restore points that stay, those that wait included
	RemovedCount int           `json:"removed_count"`  // that are gone, or would be
	Held         []HeldPrune   `json:"held,omitempty"` // what the daily run leaves to a person
	MergedCount  int           `json:"merged_count"`   // that took in what others held, or would
	FailedCount  int           `json:"failed_count"`   // that should be gone, and are not
	FreedBytes   int64         `json:"freed_bytes"`    // room that came free; of a dry run the most that it may be
}

// PrunedPoint is what becomes of one restore point, and why.
type PrunedPoint struct {
	BackupID     string      `json:"backup_id"`
	VMName       string      `json:"vm_name"`
	RepositoryID string      `json:"repository_id"`
	PolicyID     string      `json:"policy_id,omitempty"` // that it belongs to: its own, or its repository's
	CreatedAt    time.Time   `json:"created_at"`
	Action       PruneAction `json:"action" enum:"keep,delete,merge,wait"`
	Reasons      []string    `json:"reasons"`
	Misdated     string      `json:"misdated,omitempty"` // why its date cannot be right: it is kept, and counts for no rule
	Into         []string    `json:"into,omitempty"`     // of a merge: the restore points that take in what it holds
	Bytes        int64       `json:"bytes"`              // that it takes on the disk
	Removed      bool        `json:"removed,omitempty"`  // it is gone
	Failure      *Failure    `json:"failure,omitempty"`  // why it is not, although it should be
}

// HeldPrune is what the daily run leaves to a person, because it would remove too many restore points of a VM in a repository at
// once: prune.hold_above_percent of the configuration. A prune that somebody asks for is never held.
type HeldPrune struct {
	VMName       string    `json:"vm_name"`
	RepositoryID string    `json:"repository_id"`
	RemovedCount int       `json:"removed_count"` // restore points that would be removed
	PointCount   int       `json:"point_count"`   // restore points that there are
	Since        time.Time `json:"since"`         // when it was first held; of a dry run now
}

// Rewrite is a restore point's being written anew, to take in what it stands on.
type Rewrite struct {
	Onto     string  `json:"onto,omitempty"`      // the restore point that it will stand on; "" is none
	Phase    string  `json:"phase"`               // waiting, merging, comparing or swapping
	Fraction float64 `json:"fraction"`            // 0 to 1, estimated
	WaitsFor string  `json:"waits_for,omitempty"` // who reads the restore point, or what is done first, while phase is waiting
}

// Rewritten is what became of a restore point that was written anew. What it holds is what it held before.
type Rewritten struct {
	At        time.Time `json:"at"`
	Synthetic bool      `json:"synthetic,omitempty"` // it is a full backup that was made from an incremental and all it stood on
	Merged    int       `json:"merged"`              // how many restore points have been merged into it
}
