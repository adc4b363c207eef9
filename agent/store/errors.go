package store

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// ErrDamaged says that the file is not a database of this agent, or no longer a whole one. This package never repairs or
// replaces it.
var ErrDamaged = errors.New("damaged")

// ErrBadTime says that records were asked for of a time in which there can be none.
var ErrBadTime = errors.New("want a time between 1970 and 2262")

// ErrMayStand says that a change was written but not synced to the disk. It is read from then on as if it had been made.
var ErrUnsynced = errors.New("written, but not known to be on the disk")

// ErrBadCursor says that a page was asked for with a cursor that no page has given.
var ErrBadCursor = errors.New("invalid cursor")

// NotFoundError says that there is no such record.
type NotFoundError struct {
	Kind string // KindVM, KindBackup or KindRestore
	Name string
}

// The kinds of records.
const (
	KindVM      = "vm"
	KindBackup  = "backup"
	KindRestore = "restore"
)

func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %q: not found", e.Kind, e.Name) }

// ActiveError refuses what cannot be done while a backup is active.
type ActiveError struct {
	VM, BackupID string
	State        record.State
}

func (e *ActiveError) Error() string {
	return fmt.Sprintf("vm %q: backup %s is %s: wait for its end, or cancel it", e.VM, e.BackupID, e.State)
}

// CoolingError refuses a backup of a VM while the client of an earlier one may still be running.
type CoolingError struct {
	VM, BackupID string
	Until        time.Time
}

func (e *CoolingError) Error() string {
	client := "the client of backup " + e.BackupID
	if e.BackupID == UnknownBackup {
		client = "the database was lost or mended, and the client of a backup that it knew"
	}
	return fmt.Sprintf("vm %q: cool-down until %s: %s may still be running", e.VM, e.Until.UTC().Format(time.RFC3339), client)
}

// RequestMismatchError refuses a request id that was used before for something else.
type RequestMismatchError struct {
	RequestID, BackupID string
	Field               string // vm_name, backup_type or repository_id
	First, Now          string // what the field was in the first request, and in this one
}

func (e *RequestMismatchError) Error() string {
	return fmt.Sprintf("request_id %q: was used for %s with %s %q, now %q: use a new request_id",
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

// DamagedError refuses to build on a restore point that is damaged, or stands on one that is.
type DamagedError struct {
	BackupID string
	By       string // the nearest one with a damaged file
}

func (e *DamagedError) Error() string {
	if e.By == e.BackupID {
		return fmt.Sprintf("backup %s: is damaged", e.BackupID)
	}
	return fmt.Sprintf("backup %s: stands on %s, which is damaged", e.BackupID, e.By)
}

// PinnedError refuses the removal of a backup that another one stands on.
type PinnedError struct {
	BackupID string
	Child    string // the newest of them
}

func (e *PinnedError) Error() string {
	return fmt.Sprintf("backup %s: backup %s stands on it: remove that first", e.BackupID, e.Child)
}

// ServedError refuses the removal of a backup that a restore reads.
type ServedError struct {
	BackupID, RestoreID string
}

func (e *ServedError) Error() string {
	return fmt.Sprintf("backup %s: restore %s reads it: stop that first", e.BackupID, e.RestoreID)
}

// RewritingError refuses what cannot be done while a restore point is being put on other ground.
type MergingError struct{ BackupID string }

func (e *MergingError) Error() string {
	return fmt.Sprintf("backup %s: is being written anew: try again when that is done", e.BackupID)
}

// ReadError says that a restore point is read at the moment.
type ReadError struct {
	BackupID string
	Reader   string // "backup ..." or "restore ..."
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("backup %s: %s reads it", e.BackupID, e.Reader)
}

// RestoresError refuses one restore more than may be active at a time.
type RestoresError struct{ Active, Most int }

func (e *RestoresError) Error() string {
	return fmt.Sprintf("%d restores are active, the most is %d: stop one first", e.Active, e.Most)
}

// StateError refuses what a backup's state does not allow.
type StateError struct {
	BackupID string
	State    record.State
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

// StrayError says that leases are on record which no active backup has. Nothing that this package does leads there.
type StrayError struct{ Leases []record.Lease }

func (e *StrayError) Error() string {
	text := make([]string, len(e.Leases))
	for i, l := range e.Leases {
		text[i] = fmt.Sprintf("port %d of backup %q", l.Port, l.BackupID)
	}
	return "leased by no active backup: " + strings.Join(text, ", ") + ": the daemon gives them back when it starts"
}

// damaged makes the error for a file in which something is not as it must be.
func damaged(path string, cause any) error {
	return fmt.Errorf("database %s: %w: %v%s", path, ErrDamaged, cause, afterDamage)
}

const afterDamage = ": restart the daemon, which sets the file aside and makes the catalog again from the manifests, or stop it " +
	"and put a copy back"

// damageIn is what damaged was told, of an error that it made.
func damageIn(err error) string {
	_, cause, _ := strings.Cut(err.Error(), ErrDamaged.Error()+": ")
	return strings.TrimSuffix(cause, afterDamage)
}
