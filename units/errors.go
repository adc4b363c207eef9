package units

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

var (
	// ErrNotFound: neither half of the pair is loaded.
	ErrNotFound = errors.New("unit not found")
	// ErrExists: a unit of that name is loaded. It is somebody else's and was left alone.
	ErrExists = errors.New("unit exists already")
	// ErrAddressInUse: something else listens on the address; another one may work.
	ErrAddressInUse = errors.New("address is in use")
	// ErrDisconnected: the connection to the service manager broke during the call, and it is not
	// known whether the call took effect. The Manager connects again by itself.
	ErrDisconnected = errors.New("connection to the service manager was lost")
	// ErrClosed: the Manager was closed.
	ErrClosed = errors.New("units manager is closed")
)

// StartError says why a pair did not start. Nothing of the pair is loaded any more, unless Cleanup
// says otherwise.
type StartError struct {
	Unit    string // the pair's name, without suffix
	Program string // that it was to run

	// JobResult is the result of the start job: failed, timeout, canceled, dependency (the socket
	// could not listen); empty when there was no job.
	JobResult string
	// Result is the service's Result property: exit-code, signal, timeout, protocol, resources, and
	// the socket's when it was the socket that failed.
	Result string
	// ExitStatus is the main or control process's exit status, 0 when there was none.
	ExitStatus int
	// Journal holds the last lines about the unit, oldest first; see Manager.Journal.
	Journal []string
	// Err is the cause: ErrExists, ErrAddressInUse, a context's error, a D-Bus error or nil.
	Err error
	// Cleanup is the error of removing what was begun, usually nil.
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
		fmt.Fprintf(&b, " (and cleaning up failed: %v)", e.Cleanup)
	}
	return b.String()
}

// lastWords returns the last line of the journal that the command wrote, which says more than the
// service manager's; those name the unit.
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

// D-Bus error names of org.freedesktop.systemd1 (bus-common-errors.h). Match the name, never the
// text.
const (
	busUnitExists   = "org.freedesktop.systemd1.UnitExists"
	busNoSuchUnit   = "org.freedesktop.systemd1.NoSuchUnit"
	busNoSuchProc   = "org.freedesktop.systemd1.NoSuchProcess"
	busUnixNoProc   = "org.freedesktop.DBus.Error.UnixProcessIdUnknown"
	busNoReply      = "org.freedesktop.DBus.Error.NoReply"
	busDisconnected = "org.freedesktop.DBus.Error.Disconnected"
	busNoOwner      = "org.freedesktop.DBus.Error.NameHasNoOwner"
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

// isDisconnect reports whether a call failed because bus or service manager went away under it.
func isDisconnect(err error) bool {
	if errors.Is(err, dbus.ErrClosed) || errors.Is(err, ErrDisconnected) {
		return true
	}
	switch busErrorName(err) {
	case busNoReply, busDisconnected, busNoOwner, busNoService:
		return true
	}
	return isNetError(err)
}
