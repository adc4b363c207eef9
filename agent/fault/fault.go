// Package fault is the error of a request as a caller sees it: a stable reason, from which the RPC derives its codes, a message, a hint,
// and the object concerned. It knows no wire format. Errors that no caller sees need not be of this type.
package fault

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// Reason is the stable word for why a request failed. One table of package rpc derives API codes and HTTP statuses from it.
type Reason string

// The reasons.
const (
	InvalidRequest     Reason = "invalid_request"      // 400: a field is missing, malformed or out of range
	DiskIDGiven        Reason = "disk_id_not_allowed"  // 400: a start that asks for one disk
	VMNotFound         Reason = "vm_not_found"         // 404
	VMHasNoDisks       Reason = "vm_has_no_disks"      // 404: discover the VM first
	RepositoryNotFound Reason = "repository_not_found" // 404
	BackupNotFound     Reason = "backup_not_found"     // 404
	BackupInProgress   Reason = "backup_in_progress"   // 409: the VM has an active backup
	WrongState         Reason = "wrong_state"          // 409: the backup is not in a state that allows this
	CoolingDown        Reason = "cooling_down"         // 409: the client of an earlier backup may still be running
	DiskUnknown        Reason = "disk_unknown"         // 409: vCenter has a disk of the VM that is not on record
	NoParent           Reason = "no_parent"            // 409: an incremental has no restore point to be based on
	HasChildren        Reason = "has_children"         // 409: other backups are based on it
	RestoreNotFound    Reason = "restore_not_found"    // 404
	GroupNotFound      Reason = "group_not_found"      // 404
	ScheduleNotFound   Reason = "schedule_not_found"   // 404
	RunNotFound        Reason = "run_not_found"        // 404
	Damaged            Reason = "damaged"              // 409: the data to restore is not what was written
	BeingRestored      Reason = "being_restored"       // 409: a restore reads it
	BeingVerified      Reason = "being_verified"       // 409: a requested verification reads it
	NotAllowed         Reason = "not_allowed"          // 403
	NoFreePort         Reason = "no_free_port"         // 503
	Busy               Reason = "busy"                 // 503: a limit of parallel backups or exports is reached
	QueueFull          Reason = "queue_full"           // 503
	RepositoryPaused   Reason = "repository_paused"    // 503: nothing new starts in the repository
	ExporterFailed     Reason = "exporter_failed"      // 500: qemu-nbd could not be started or died
	ImageFailed        Reason = "image_failed"         // 500: an image could not be created, or is not as requested
	RepositoryFailed   Reason = "repository_failed"    // 500: the repository cannot be written
	RepositoryStuck    Reason = "repository_stuck"     // 503: the repository does not answer
	HookFailed         Reason = "hook_failed"          // 500: a hook of a scheduled run failed, and its configuration says that this counts
	KeyUnavailable     Reason = "key_unavailable"      // 500: a key of encrypted images is missing, unusable or wrong
	PasswordMissing    Reason = "password_unavailable" // 500: the password of a vCenter is missing, empty or unreadable
	NotConfigured      Reason = "not_configured"       // 500: the configuration lacks what the request needs
	NoSpace            Reason = "no_space"             // 507: in the repository
	StateUnwritable    Reason = "state_unwritable"     // 507: the database cannot be written: the state directory is full, read-only or fails
	SNAUnreachable     Reason = "sna_unreachable"      // 500: no copy was started
	SNARefused         Reason = "sna_refused"          // 500: the SNA answered with an error
	SNAOutcomeUnknown  Reason = "sna_outcome_unknown"  // 500: the request may have arrived; it is not sent again
	DeadlinePassed     Reason = "deadline_passed"      // 500: the backup exceeded a configured deadline
	ClientSilent       Reason = "client_silent"        // 500: SBC did not connect, and reports nothing new to the SNA
	ClientGone         Reason = "client_gone"          // 500: SBC left before every disk was complete
	ShuttingDown       Reason = "shutting_down"        // 503
	ReaderFailed       Reason = "reader_failed"        // 500: the file reader could not be started or died
	ReaderMissing      Reason = "reader_missing"       // 501: the file reader is not installed
	SystemdFailed      Reason = "systemd_failed"       // 500: systemd or D-Bus is down, does not answer, or refuses a call
	ProgramMissing     Reason = "program_missing"      // 500: a program of QEMU is missing or cannot be executed
	HostFailed         Reason = "host_failed"          // 500: the operating system refuses something: space, rights, memory, time
	Internal           Reason = "internal"             // 500: a fault of the agent
)

// Error is every error that the agent returns to a caller. Message is for a person and names the object.
type Error struct {
	Reason    Reason
	Message   string
	Hint      string   // what to do about it; may be empty
	BackupID  string   // the backup concerned, if it is on record
	RestoreID string   // the restore concerned, if it is on record
	DiskID    *int     // the disk concerned, if it is one disk
	Unit      string   // the unit concerned, with suffix
	Journal   []string // the unit's last journal lines
	Err       error    // the cause; may be nil

	learned bool // the cause tells reason and hint
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Failure returns the error as a record stores it; nil for nil.
func (e *Error) Failure() *record.Failure {
	if e == nil {
		return nil
	}
	return &record.Failure{
		Reason: string(e.Reason), Message: e.Message, Hint: e.Hint, DiskID: e.DiskID, Unit: e.Unit, Journal: e.Journal,
	}
}

// WithHint adds what to do about it, unless the cause of the error has told that.
func (e *Error) WithHint(hint string) *Error {
	if !e.learned {
		e.Hint = hint
	}
	return e
}

// OfBackup adds the backup concerned.
func (e *Error) OfBackup(id string) *Error {
	e.BackupID = id
	return e
}

// OfRestore adds the restore concerned.
func (e *Error) OfRestore(id string) *Error {
	e.RestoreID = id
	return e
}

// OfDisk adds the disk concerned, by its disk id.
func (e *Error) OfDisk(id int) *Error {
	e.DiskID = &id
	return e
}

// OfUnit adds the unit concerned, with its suffix.
func (e *Error) OfUnit(name string) *Error {
	e.Unit = name
	return e
}

// WithJournal adds the last lines of the unit's journal.
func (e *Error) WithJournal(lines []string) *Error {
	e.Journal = lines
	return e
}

// Has reports whether the error has that reason. A nil error has none.
func (e *Error) Has(reason Reason) bool { return e != nil && e.Reason == reason }

// New returns an *Error with a formatted message. Its cause is what %w names. If the cause tells a better reason, such as a database that
// cannot be written, the error has that reason and its hint, and not the given one.
func New(reason Reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Reason: reason, Message: err.Error(), Err: errors.Unwrap(err)}
	e.learn(err)
	return e
}

// Unwritable reports whether the cause of an error is a database that cannot be written.
func Unwritable(err error) bool {
	var state *store.UnwritableError
	return errors.As(err, &state)
}

// stateHint returns what to do about a state directory that cannot be written.
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

// OrNil returns the error as an interface that is nil if e is nil.
func (e *Error) OrNil() error {
	if e == nil {
		return nil
	}
	return e
}

// From returns the *Error within err. If there is none, it returns err with the reason that its cause tells, and with Internal if it tells
// none; nil for nil.
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
