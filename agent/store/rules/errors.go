package rules

import (
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// ActiveError refuses what is not possible while a backup is active.
type ActiveError struct {
	VM, BackupID string
	State        record.State
}

func (e *ActiveError) Error() string {
	return fmt.Sprintf("vm %q: backup %s is %s: wait for its end, or cancel it", e.VM, e.BackupID, e.State)
}

// CoolingError refuses a backup of a VM while the client of an earlier backup may still be running.
type CoolingError struct {
	VM, BackupID string
	Until        time.Time
}

func (e *CoolingError) Error() string {
	client := "the client of backup " + e.BackupID
	if e.BackupID == schema.UnknownBackup {
		client = "the database was lost or repaired, and the client of an earlier backup"
	}
	return fmt.Sprintf("vm %q: cool-down until %s: %s may still be running", e.VM, e.Until.UTC().Format(time.RFC3339), client)
}

// ParentError refuses a parent that is not a restore point of the same VM in the same repository.
type ParentError struct {
	Parent string
	Why    string
}

func (e *ParentError) Error() string {
	return fmt.Sprintf("parent %s: %s: choose a completed backup of the same VM in the same repository, or make a full backup",
		e.Parent, e.Why)
}

// DamagedError refuses a restore point as a parent, or for a merge, that is damaged or based on a damaged one.
type DamagedError struct {
	BackupID string
	By       string // the nearest one with a damaged file
}

func (e *DamagedError) Error() string {
	if e.By == e.BackupID {
		return fmt.Sprintf("backup %s: is damaged", e.BackupID)
	}
	return fmt.Sprintf("backup %s: is based on %s, which is damaged", e.BackupID, e.By)
}

// PinnedError refuses the removal of a backup that another one is based on.
type PinnedError struct {
	BackupID string
	Child    string // the newest of them
}

func (e *PinnedError) Error() string {
	return fmt.Sprintf("backup %s: backup %s is based on it: delete that backup first", e.BackupID, e.Child)
}

// ServedError refuses the removal of a backup that a restore reads.
type ServedError struct {
	BackupID, RestoreID string
}

func (e *ServedError) Error() string {
	return fmt.Sprintf("backup %s: in use by restore %s: stop that restore first", e.BackupID, e.RestoreID)
}

// MergingError refuses what is not possible while a merge of a restore point is in progress.
type MergingError struct{ BackupID string }

func (e *MergingError) Error() string {
	return fmt.Sprintf("backup %s: a merge is in progress: try again when it is done", e.BackupID)
}

// ReadError says that a backup or a restore reads a restore point now.
type ReadError struct {
	BackupID string
	Reader   string // "backup ..." or "restore ..."
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("backup %s: %s reads it", e.BackupID, e.Reader)
}

// StateError refuses what is not possible in the state of a backup.
type StateError struct {
	BackupID string
	State    record.State
	Action   string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("backup %s: %s is not possible while it is %s", e.BackupID, e.Action, e.State)
}

// RunEndedError refuses to change a run that has ended.
type RunEndedError struct {
	RunID string
	State record.RunState
}

func (e *RunEndedError) Error() string {
	return fmt.Sprintf("run %s has ended: it is %s", e.RunID, e.State)
}

// ImmutableError refuses to change a field that never changes.
type ImmutableError struct {
	BackupID, Field string
}

func (e *ImmutableError) Error() string {
	return fmt.Sprintf("backup %s: %s cannot be changed", e.BackupID, e.Field)
}
