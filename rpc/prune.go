package rpc

import "time"

// PruneRequest asks to apply the retention policies of the configuration.
type PruneRequest struct {
	VMName       string `json:"vm_name,omitempty"`       // "" is every VM
	RepositoryID string `json:"repository_id,omitempty"` // "" is every repository
	DryRun       bool   `json:"dry_run,omitempty"`       // change nothing: the report says what would be done
	All          bool   `json:"all,omitempty"`           // report also the restore points that are kept, and why
}

// PruneAction is what a prune does with a restore point.
type PruneAction string

// The actions.
const (
	PruneKeep   PruneAction = "keep"
	PruneDelete PruneAction = "delete" // no rule keeps it, and nothing that is kept is based on it
	PruneMerge  PruneAction = "merge"  // no rule keeps it: it is merged into its children, and then deleted
	PruneWait   PruneAction = "wait"   // no rule keeps it, but it stays for now
)

// PruneReport is what was done, or what a dry run would do.
type PruneReport struct {
	DryRun       bool          `json:"dry_run"`
	Points       []PrunedPoint `json:"points"`         // by VM and repository, the newest first
	KeptCount    int           `json:"kept_count"`     // restore points that stay, including those that wait
	RemovedCount int           `json:"removed_count"`  // restore points that are deleted, or would be
	Held         []HeldPrune   `json:"held,omitempty"` // held prunes: a person must run them
	MergedCount  int           `json:"merged_count"`   // restore points into which others were merged, or would be
	FailedCount  int           `json:"failed_count"`   // restore points that should be deleted or become a full backup, but did not, or cannot
	FreedBytes   int64         `json:"freed_bytes"`    // space that was freed, less what merges made others grow by; of a dry run an estimate

	Repositories []PrunedRepository `json:"repositories,omitempty"` // the part of each repository, in the order of the configuration
}

// PrunedRepository says whether the policies were applied in one repository. Points and counts of the report hold those of the complete
// parts, and what was done before a failure.
type PrunedRepository struct {
	RepositoryID string   `json:"repository_id"`
	Complete     bool     `json:"complete"`          // for every VM that was asked for
	Failure      *Failure `json:"failure,omitempty"` // why not: it is paused, does not answer, or another prune is in progress there
}

// PrunedPoint is what is done with one restore point, and why.
type PrunedPoint struct {
	BackupID     string      `json:"backup_id"`
	VMName       string      `json:"vm_name"`
	RepositoryID string      `json:"repository_id"`
	PolicyID     string      `json:"policy_id,omitempty"` // policy of the restore point, or of its repository
	CreatedAt    time.Time   `json:"created_at"`
	Action       PruneAction `json:"action" enum:"keep,delete,merge,wait"`
	Reasons      []string    `json:"reasons"`
	Synthetic    bool        `json:"synthetic,omitempty"` // it becomes a full backup, because its chain is longer than max_chain
	Misdated     string      `json:"misdated,omitempty"`  // why its date cannot be right; it is kept, and does not count for any rule
	Into         []string    `json:"into,omitempty"`      // of a merge: the restore points into which it is merged
	Bytes        int64       `json:"bytes"`               // disk space that it uses
	Removed      bool        `json:"removed,omitempty"`   // it was deleted
	Failure      *Failure    `json:"failure,omitempty"`   // why it was not deleted, or cannot be, although it should be
}

// HeldPrune is a part of the daily prune that waits for a person: it would delete too many restore points of a VM in a repository
// at once (prune.hold_above_percent of the configuration). A prune by request is never held.
type HeldPrune struct {
	VMName       string    `json:"vm_name"`
	RepositoryID string    `json:"repository_id"`
	RemovedCount int       `json:"removed_count"` // restore points that would be deleted
	PointCount   int       `json:"point_count"`   // all restore points of the VM in the repository
	Since        time.Time `json:"since"`         // when it was first held; in a dry run: now
}
