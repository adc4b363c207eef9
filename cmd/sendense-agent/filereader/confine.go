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

const launcher = "sendense-guest" // argv[0] of a process that must act as the launcher

// init is the launcher, in a process that was started as one, before anything else of the program runs. The arguments are the
// path of a program and its argument list, beginning with argv[0].
func init() {
	if os.Args[0] != launcher || len(os.Args) < 3 {
		return
	}
	runtime.LockOSThread() // the filter belongs to the thread, and only the thread that calls execve remains
	err := confine()
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
	os.Exit(126)
}

// confine takes rights from the process and its children that the relay beside it keeps: only the relay opens network
// connections, each to the one export. The unit in which all of them run confines them further.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	refused := seccomp.SyscallGroup{
		Action: seccomp.ActionErrno,
		// io_uring bypasses the filter. The others access the memory or the files of the relay.
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

// confined makes a command that runs confined.
func confined(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{launcher, path, path}, args...)
	return cmd
}
