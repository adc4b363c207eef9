package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units"
)

// ErrStopping is the cause of every job's end when the agent stops.
var ErrStopping = errors.New("the agent is stopping")

// learn replaces a reason by the one that the cause of the error tells, with its hint. A database that cannot be written, a systemd that
// does not answer and a program that is missing say more than any other reason: whatever failed, failed because of them. The rest replaces
// only Internal, which is left for faults of the agent.
func (e *Error) learn(cause error) {
	var (
		state *store.UnwritableError
		inner *Error
		of    *storage.Error
	)
	switch program := missingProgram(cause); {
	case errors.As(cause, &state):
		e.found(StateUnwritable, stateHint(state))
	case units.IsManagerFailure(cause) && e.aboutHub():
		e.found(SystemdFailed, "look at 'systemctl is-system-running' and 'systemctl status dbus.service'. The agent connects again by itself")
	case program != "" && e.aboutHub():
		e.found(ProgramMissing, "install the package that has it (qemu-utils or qemu-img), or correct the path in the configuration: "+program)
	case e.Reason != Internal:
	case errors.As(cause, &inner):
		e.adopt(inner)
	case storage.IsStuck(cause), errors.As(cause, &of):
		e.found(ofRepository(cause))
	default:
		e.found(ofHost(cause))
	}
}

// found sets a reason that comes from the cause; WithHint does not replace its hint.
func (e *Error) found(reason Reason, hint string) {
	e.Reason, e.Hint, e.learned = reason, hint, reason != Internal
}

// adopt takes what an error within this one says beside its message.
func (e *Error) adopt(inner *Error) {
	message, cause := e.Message, e.Err
	*e = *inner
	e.Message, e.Err, e.learned = message, cause, true
}

// aboutHub reports whether the reason only says which part of the hub failed.
func (e *Error) aboutHub() bool {
	switch e.Reason {
	case Internal, ExporterFailed, ReaderFailed, ImageFailed, RepositoryFailed:
		return true
	}
	return false
}

// missingProgram returns the program that cannot be executed; "" if that is not the cause.
func missingProgram(err error) string {
	if program := units.MissingProgram(err); program != "" {
		return program
	}
	var lookup *exec.Error
	if errors.As(err, &lookup) {
		return lookup.Name
	}
	var path *fs.PathError
	if errors.As(err, &path) && path.Op == "fork/exec" && (errors.Is(path, unix.ENOENT) || errors.Is(path, unix.EACCES)) {
		return path.Path
	}
	return ""
}

// ofHost returns the reason of an error that the operating system explains, or the end of a context; Internal for any other.
func ofHost(err error) (Reason, string) {
	switch {
	case errors.Is(err, ErrStopping) || errors.Is(err, storage.ErrClosed) || errors.Is(err, units.ErrClosed):
		return ShuttingDown, "try again after the restart"
	case errors.Is(err, context.Canceled):
		return ShuttingDown, "the request ended early, because its caller left or the agent stops: ask again"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return HostFailed, "the hub did not answer in time: look at its load, its memory and its disks, then try again"
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return Internal, ""
	}
	if hint := hostHints[errno]; hint != "" {
		return HostFailed, hint + file(err)
	}
	return Internal, ""
}

// hostHints are what to do about the errors of the operating system that are no fault of the agent.
var hostHints = map[syscall.Errno]string{
	unix.ENOSPC: "free space on the file system that the message names",
	unix.EDQUOT: "raise the quota, or free space on the file system that the message names",
	unix.EROFS:  "the file system is read-only: read the kernel's log for the reason, and mount it writable",
	unix.EACCES: "give the agent the rights to it: compare the mode, the owner and the rules of AppArmor or SELinux with a fresh installation",
	unix.EPERM:  "give the agent the rights to it: compare the unit of the daemon with a fresh installation, and look for drop-ins",
	unix.ESTALE: "the file server has replaced the directory: mount it again",
	unix.EIO:    "a disk or a file server fails: read the kernel's log",
	unix.ENOMEM: "the hub has too little memory: look at 'free' and at the limits of the unit",
	unix.EMFILE: "the daemon has too many open files: raise LimitNOFILE of its unit",
	unix.ENFILE: "the hub has too many open files: raise fs.file-max",
	unix.EAGAIN: "the hub has reached a limit of processes: look at TasksMax of the unit and at 'systemctl status'",
}

// file names the file that an error is about, to follow a hint; "" if there is none.
func file(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Sprintf(" (%s)", path.Path)
	case errors.As(err, &link):
		return fmt.Sprintf(" (%s)", link.New)
	}
	return ""
}
