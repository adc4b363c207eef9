package confine

import (
	"fmt"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
)

// refused are system calls that a program which reads files has no use for.
var refused = []string{
	// Nothing reaches a network, a service of this host, or another program of the same user. io_uring comes with them,
	// because what it does passes no filter.
	"socket", "socketpair", "io_uring_setup", "io_uring_enter", "io_uring_register",
	// Other processes of the same user, which the exporters are.
	"kill", "tkill", "pidfd_open", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp",
	"setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity",
	"move_pages", "migrate_pages",
	// What is shared by all processes of a user.
	"shmget", "semget", "msgget", "mq_open", "add_key", "request_key", "keyctl",
	// Ways to more of the kernel.
	"unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_by_handle_at",
	"bpf", "perf_event_open", "userfaultfd",
}

// filterCalls makes the calling thread get EPERM for what is refused, for all calls of another ABI (of 32-bit programs), and
// for those that are too new to be known here. The kernel wants no_new_privs before.
func filterCalls() error {
	native, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	allowed := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for name := range native.SyscallNames {
		switch {
		case name == "prlimit64": // its own limits, and nobody else's
			allowed.NamesWithCondtions = append(allowed.NamesWithCondtions, seccomp.NameWithConditions{
				Name: name, Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: 0}},
			})
		case !slices.Contains(refused, name):
			allowed.Names = append(allowed.Names, name)
		}
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{allowed}}
	if err := seccomp.LoadFilter(seccomp.Filter{Policy: policy}); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}
