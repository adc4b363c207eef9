package units

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

var (
	// ErrNotFound: neither half of the pair is loaded.
	ErrNotFound = errors.New("unit not found")
	// ErrExists: a unit of that name was loaded before. It is not ours and was not touched.
	ErrExists = errors.New("unit already exists")
	// ErrAddressInUse: another process listens on the address; another address may work.
	ErrAddressInUse = errors.New("address is in use")
	// ErrDisconnected: the connection to the service manager broke during the call, which may or may
	// not have taken effect. The Manager connects again by itself.
	ErrDisconnected = errors.New("connection to the service manager was lost")
	// ErrNoAnswer: the service manager did not answer a call before the context of the caller ended. The
	// call may or may not have taken effect.
	ErrNoAnswer = errors.New("the service manager does not answer")
	// ErrClosed: the Manager was closed.
	ErrClosed = errors.New("units manager is closed")
)

// StartError is why a pair did not start. Nothing of the pair stays loaded, unless Cleanup is set.
type StartError struct {
	Unit    string // the pair's name, without suffix
	Program string // the command's path

	// JobResult is the result of the start job: failed, timeout, canceled, dependency (the socket
	// could not listen); empty if there was no job.
	JobResult string
	// Result is the service's Result property: exit-code, signal, timeout, protocol, resources; or
	// the socket's, if the socket failed.
	Result string
	// ExitStatus is the exit status of the main or control process, 0 if there was none.
	ExitStatus int
	// Journal holds the last lines about the unit, oldest first; see Manager.Journal.
	Journal []string
	// Err is the cause: ErrExists, ErrAddressInUse, a context's error, a D-Bus error or nil.
	Err error
	// Cleanup is the error of the removal of the pair, usually nil.
	Cleanup error
}

func (e *StartError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "unit %s: did not start", e.Unit)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.JobResult != "" {
		fmt.Fprintf(&b, ": job %s", e.JobResult)
	}
	if e.Result != "" && e.Result != "success" {
		fmt.Fprintf(&b, ", result %s", e.Result)
	}
	if e.ExitStatus != 0 {
		fmt.Fprintf(&b, ", exit status %s", exitStatus(e.ExitStatus))
	}
	if e.ExitStatus == stepExec {
		fmt.Fprintf(&b, ": %s cannot be executed", e.Program)
	}
	if line := e.lastWords(); line != "" {
		fmt.Fprintf(&b, ": %s", line)
	}
	if e.Cleanup != nil {
		fmt.Fprintf(&b, " (and the cleanup failed: %v)", e.Cleanup)
	}
	return b.String()
}

// lastWords returns the last line of the journal that the command wrote. Lines that name the unit are
// the service manager's and say less.
func (e *StartError) lastWords() string {
	for _, line := range slices.Backward(e.Journal) {
		if !strings.Contains(line, e.Unit) {
			return line
		}
	}
	return ""
}

func (e *StartError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Err, e.Cleanup} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// D-Bus error names of org.freedesktop.systemd1 (bus-common-errors.h). The name is stable, the text is
// not.
const (
	busUnitExists   = "org.freedesktop.systemd1.UnitExists"
	busNoSuchUnit   = "org.freedesktop.systemd1.NoSuchUnit"
	busNoSuchProc   = "org.freedesktop.systemd1.NoSuchProcess"
	busUnixNoProc   = "org.freedesktop.DBus.Error.UnixProcessIdUnknown"
	busNoReply      = "org.freedesktop.DBus.Error.NoReply"
	busDisconnected = "org.freedesktop.DBus.Error.Disconnected"
	busNoOwner      = "org.freedesktop.DBus.Error.NameHasNoOwner"
	busTimedOut     = "org.freedesktop.DBus.Error.TimedOut" // the service manager did not come to a new bus in time
	busInvalidArgs  = "org.freedesktop.DBus.Error.InvalidArgs"
	busNoService    = "org.freedesktop.DBus.Error.ServiceUnknown"
)

// busErrorName returns the D-Bus name of an error, or "".
func busErrorName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	var p *dbus.Error
	if errors.As(err, &p) {
		return p.Name
	}
	return ""
}

// isDisconnect reports whether a call failed because the connection to the bus or to the service
// manager was lost.
func isDisconnect(err error) bool {
	if errors.Is(err, dbus.ErrClosed) || errors.Is(err, ErrDisconnected) {
		return true
	}
	switch busErrorName(err) {
	case busNoReply, busDisconnected, busNoOwner, busTimedOut, busNoService:
		return true
	}
	return isNetError(err)
}

// lateAnswer wraps the error of a call that ended because ctx did, so that a caller learns who did not answer.
func lateAnswer(ctx context.Context, err error) error {
	switch {
	case err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, ErrNoAnswer) || errors.Is(err, ErrDisconnected):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case isDisconnect(err):
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return err
}

// IsManagerFailure reports whether systemd or its bus is the cause of an error: it is down, does not answer, or refuses a call. What it
// says about one unit (it exists, it is not loaded, it did not start) is not such an error.
func IsManagerFailure(err error) bool {
	switch busErrorName(err) {
	case busUnitExists, busNoSuchUnit, busNoSuchProc, busUnixNoProc, busInvalidArgs:
		return false
	case "":
		return errors.Is(err, ErrNoAnswer) || errors.Is(err, ErrDisconnected) || errors.Is(err, dbus.ErrClosed)
	}
	return true
}

// MissingProgram returns the path of the program that systemd could not execute; "" if that is not why a pair did not start.
func MissingProgram(err error) string {
	var start *StartError
	if errors.As(err, &start) && start.ExitStatus == stepExec {
		return start.Program
	}
	return ""
}
