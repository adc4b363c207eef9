package filereader

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

const launcher = "sendense-guest" // the name by which an executable knows that it is to be the launcher

// init makes a launcher of a process that was started as one, before anything else of the program runs. Arguments are the path
// of a program and the program's own, from the name it is called by.
func init() {
	if os.Args[0] != launcher || len(os.Args) < 3 {
		return
	}
	runtime.LockOSThread() // fetters are a thread's; the thread that calls execve is what remains
	err := confine()
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
	os.Exit(126)
}

// confine takes from the process, and all that come of it, what the relay beside it may: only the relay opens connections of
// the network, and each to the one export. The unit that all run in confines them further.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	refused := seccomp.SyscallGroup{
		Action: seccomp.ActionErrno,
		// What io_uring does passes no filter; the others reach into the relay.
		Names: []string{
			"io_uring_setup", "io_uring_enter", "io_uring_register",
			"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
		},
		NamesWithCondtions: []seccomp.NameWithConditions{{
			Name:       "socket",
			Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.NotEqual, Value: unix.AF_UNIX}},
		}},
	}
	filter := seccomp.Filter{Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{refused},
	}}
	if err := seccomp.LoadFilter(filter); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

// confined is a command that runs confined.
func confined(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{launcher, path, path}, args...)
	return cmd
}
