// Package fault is the error of a request as a caller sees it: a reason, which is stable and from which the RPC derives its codes, a
// message, a hint, and what the error is about. It knows no wire format. Errors that no caller sees need not be one.
package fault

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// Reason is the stable word for why a request failed. API codes and HTTP statuses are derived from it in one table of
// package rpc.
type Reason string

// The reasons.
const (
	InvalidRequest     Reason = "invalid_request"      // 400: a field is missing, malformed or out of range
	DiskIDGiven        Reason = "disk_id_not_allowed"  // 400: a start that asks for one disk
	VMNotFound         Reason = "vm_not_found"         // 404
	VMHasNoDisks       Reason = "vm_has_no_disks"      // 404: run discovery first
	RepositoryNotFound Reason = "repository_not_found" // 404
	BackupNotFound     Reason = "backup_not_found"     // 404
	BackupInProgress   Reason = "backup_in_progress"   // 409: the VM has an active backup
	WrongState         Reason = "wrong_state"          // 409: the backup is not in a state that allows this
	CoolingDown        Reason = "cooling_down"         // 409: the client of an earlier run may still be running
	DiskUnknown        Reason = "disk_unknown"         // 409: vCenter has a disk of the VM that is not on record
	NoParent           Reason = "no_parent"            // 409: an incremental without a restore point to stand on
	HasChildren        Reason = "has_children"         // 409: other backups stand on it
	RestoreNotFound    Reason = "restore_not_found"    // 404
	Damaged            Reason = "damaged"              // 409: what is to be restored is not what was written
	BeingRestored      Reason = "being_restored"       // 409: a restore reads it
	BeingVerified      Reason = "being_verified"       // 409: somebody has asked for a verification that reads it
	NotAllowed         Reason = "not_allowed"          // 403
	NoFreePort         Reason = "no_free_port"         // 503
	Busy               Reason = "busy"                 // 503: as many backups or exports run as may
	QueueFull          Reason = "queue_full"           // 503
	ExporterFailed     Reason = "exporter_failed"      // 500: qemu-nbd could not be started or died
	ImageFailed        Reason = "image_failed"         // 500: an image could not be created or is not what was asked for
	RepositoryFailed   Reason = "repository_failed"    // 500: the repository cannot be written
	KeyUnavailable     Reason = "key_unavailable"      // 500: a key of encrypted images is missing, unusable, or another one
	NoSpace            Reason = "no_space"             // 507: in the repository
	StateUnwritable    Reason = "state_unwritable"     // 507: nothing can be put on record: the state directory is full, read-only, or fails
	SNAUnreachable     Reason = "sna_unreachable"      // 500: nothing was sent
	SNARefused         Reason = "sna_refused"          // 500: the SNA answered with an error, in its own words
	SNAOutcomeUnknown  Reason = "sna_outcome_unknown"  // 500: the request may have arrived; it is not sent again
	DeadlinePassed     Reason = "deadline_passed"      // 500: a configured deadline of the run
	ClientSilent       Reason = "client_silent"        // 500: SBC has not connected, and reports nothing new to the SNA
	ClientGone         Reason = "client_gone"          // 500: SBC has left before every disk was complete
	ShuttingDown       Reason = "shutting_down"        // 503
	ReaderFailed       Reason = "reader_failed"        // 500: what reads files out of a disk could not be started or died
	ReaderMissing      Reason = "reader_missing"       // 501: what reads files out of a disk is not installed
	Internal           Reason = "internal"             // 500
)

// Error is every error that the Agent's methods return to a caller. Message is for a person and names the object.
type Error struct {
	Reason    Reason
	Message   string
	Hint      string   // what to do about it; may be empty
	BackupID  string   // the backup concerned, when there is a record of it
	RestoreID string   // the restore concerned, when there is a record of it
	DiskID    *int     // the disk concerned, when it is one disk
	Unit      string   // the unit concerned, with suffix
	Journal   []string // the unit's last journal lines
	Err       error    // the cause; may be nil
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Failure is the error as a record keeps it; nil for nil.
func (e *Error) Failure() *record.Failure {
	if e == nil {
		return nil
	}
	return &record.Failure{
		Reason: string(e.Reason), Message: e.Message, Hint: e.Hint, DiskID: e.DiskID, Unit: e.Unit, Journal: e.Journal,
	}
}

// Has says whether this is an error of that reason; a nil one is of none.
func (e *Error) Has(reason Reason) bool { return e != nil && e.Reason == reason }

// New makes an *Error whose message is formatted and whose cause is what %w names. One that is caused by a database that cannot be
// written has that reason and its hint, whatever was being done.
func New(reason Reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Reason: reason, Message: err.Error(), Err: errors.Unwrap(err)}
	if state := new(store.UnwritableError); errors.As(err, &state) {
		e.Reason, e.Hint = StateUnwritable, stateHint(state)
	}
	return e
}

// Unwritable says whether the cause of an error is that the database cannot be written.
func Unwritable(err error) bool {
	var state *store.UnwritableError
	return errors.As(err, &state)
}

// stateHint says what to do about a state directory that cannot be written.
func stateHint(e *store.UnwritableError) string {
	directory, goesOn := e.Directory(), "; copies continue, and their reports are recorded as soon as possible"
	free := ""
	if e.Free >= 0 {
		free = fmt.Sprintf(" (%d KiB are free)", e.Free>>10)
	}
	switch {
	case errors.Is(e, unix.ENOSPC) || errors.Is(e, unix.EDQUOT):
		return "free space on the file system of " + directory + free + goesOn
	case errors.Is(e, unix.EROFS):
		return "the file system of " + directory + " is read-only: read the kernel's log for the reason, and mount it writable" + goesOn
	}
	return "check the disk of " + directory + free + " and the kernel's log" + goesOn
}

// OrNil is the error as an error that is nil when there is none.
func (e *Error) OrNil() error {
	if e == nil {
		return nil
	}
	return e
}

// From returns the *Error within err, or err as an Internal one; nil for nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	e = New(Internal, "%w", err)
	e.Err = err
	return e
}
