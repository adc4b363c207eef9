package systemdtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// selfExe is the running executable, also if its file has been removed.
const selfExe = "/proc/self/exe"

// Roles of this executable when it runs itself again: the role is argv[0].
const (
	roleSupervisor = "systemdtest-supervisor"
	roleStage      = "systemdtest-stage"
	roleEnter      = "systemdtest-enter"

	roleCommandInside = "systemdtest-command"
)

// init runs a role, if the process was started in one, instead of main. During init the initial goroutine
// is locked to the main thread. The roles need that: namespaces belong to a thread, and PDEATHSIG is
// sent when the parent thread ends.
func init() {
	var role func() error
	switch os.Args[0] {
	case roleSupervisor:
		role = supervise
	case roleStage:
		role = becomeSystemd
	case roleEnter:
		role = enter
	case roleCommandInside:
		role = commandInside
	default:
		return
	}
	runtime.LockOSThread()
	if err := role(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(exitNotStarted)
	}
	os.Exit(0)
}

// roleCommand prepares this executable to run again in a role.
func roleCommand(role string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: selfExe, Args: append([]string{role}, args...)}
}
