package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
)

// ErrDamaged says that the file is not a database of this agent, or no longer a whole one. It is never repaired or
// replaced by itself.
var ErrDamaged = errors.New("damaged")

// ErrBadCursor says that a page was asked for with a cursor that no page has given.
var ErrBadCursor = errors.New("invalid cursor")

// NotFoundError says that there is no such record.
type NotFoundError struct {
	Kind string // KindVM or KindBackup
	Name string
}

// The kinds of records.
const (
	KindVM     = "vm"
	KindBackup = "backup"
)

func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %q: not found", e.Kind, e.Name) }

// ActiveError refuses what cannot be done while a backup is active.
type ActiveError struct {
	VM, BackupID string
	State        backup.State
}

func (e *ActiveError) Error() string {
	return fmt.Sprintf("vm %q: backup %s is %s: wait for its end, or cancel it", e.VM, e.BackupID, e.State)
}

// CoolingError refuses a backup of a VM while a client of an earlier one may still be on its way.
type CoolingError struct {
	VM, BackupID string
	Until        time.Time
}

func (e *CoolingError) Error() string {
	return fmt.Sprintf("vm %q: a client of backup %s may still be on its way: try again after %s",
		e.VM, e.BackupID, e.Until.UTC().Format(time.RFC3339))
}

// RequestMismatchError refuses a request id that was used before for something else.
type RequestMismatchError struct {
	RequestID, BackupID string
	Field               string // vm_name, backup_type or repository_id
	First, Now          string // what the field was in the first request, and in this one
}

func (e *RequestMismatchError) Error() string {
	return fmt.Sprintf("request_id %q: was used for backup %s with %s %q, now %q: use a new request_id",
		e.RequestID, e.BackupID, e.Field, e.First, e.Now)
}

// ClaimError refuses a name that an active backup, or another disk of the same one, already has.
type ClaimError struct {
	Kind     string // unit, export, image or directory
	Name     string
	BackupID string // who has it
}

func (e *ClaimError) Error() string {
	return fmt.Sprintf("%s %q: already belongs to backup %s", e.Kind, e.Name, e.BackupID)
}

// ParentError refuses a parent that is no restore point of the same VM in the same repository.
type ParentError struct {
	Parent string
	Why    string
}

func (e *ParentError) Error() string {
	return fmt.Sprintf("parent %s: %s: choose a completed backup of the same VM in the same repository, or make a full backup",
		e.Parent, e.Why)
}

// PinnedError refuses the removal of a backup that another one stands on.
type PinnedError struct {
	BackupID string
	Child    string // the newest of them
}

func (e *PinnedError) Error() string {
	return fmt.Sprintf("backup %s: backup %s stands on it: remove that first", e.BackupID, e.Child)
}

// StateError refuses what a backup's state does not allow.
type StateError struct {
	BackupID string
	State    backup.State
	Action   string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("backup %s: %s is not possible while it is %s", e.BackupID, e.Action, e.State)
}

// ImmutableError refuses an update of what never changes in a record.
type ImmutableError struct {
	BackupID, Field string
}

func (e *ImmutableError) Error() string {
	return fmt.Sprintf("backup %s: %s may not be changed", e.BackupID, e.Field)
}

// NewerSchemaError refuses a file that a newer agent has written.
type NewerSchemaError struct {
	Path               string
	Version, Supported int
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("database %s: schema version %d, this agent knows versions up to %d: install the newer agent again",
		e.Path, e.Version, e.Supported)
}

// damaged makes the error for a file in which something is not as it must be.
func damaged(path string, cause any) error {
	return fmt.Errorf("database %s: %w: %v: put a copy of it back, or move it away and run 'sendense-agent rebuild'",
		path, ErrDamaged, cause)
}
