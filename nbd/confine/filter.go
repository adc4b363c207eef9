package confine

import (
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// refused are system calls that a program that only reads and writes files does not need.
var refused = []string{
	// Access to the network, to services of this host and to other programs of the same user. io_uring is among them, because
	// the filter does not see its operations.
	"socket", "socketpair", "io_uring_setup", "io_uring_enter", "io_uring_register",
	// Other processes of the same user: the exporters.
	"kill", "tkill", "pidfd_open", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp",
	"setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity",
	"move_pages", "migrate_pages",
	// What all processes of a user share.
	"shmget", "semget", "msgget", "mq_open", "add_key", "request_key", "keyctl",
	// Calls that give access to more of the kernel.
	"unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_by_handle_at",
	"bpf", "perf_event_open", "userfaultfd",
}

// callFilter returns the filter: EPERM for refused calls, for all calls of another ABI (32-bit programs), and for calls that this
// version does not know.
var callFilter = sync.OnceValues(func() (*unix.SockFprog, error) {
	native, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	allowed := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for name := range native.SyscallNames {
		switch {
		case name == "prlimit64": // only for its own limits
			allowed.NamesWithCondtions = append(allowed.NamesWithCondtions, seccomp.NameWithConditions{
				Name: name, Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: 0}},
			})
		case !slices.Contains(refused, name):
			allowed.Names = append(allowed.Names, name)
		}
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{allowed}}
	instructions, err := policy.Assemble()
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	program, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}, nil
})

// install applies the filter to the calling thread. The kernel requires no_new_privs first.
func install(filter *unix.SockFprog) error {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(filter)))
	if errno != 0 {
		return errno
	}
	return nil
}
