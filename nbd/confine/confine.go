// Package confine runs a program that reads untrusted files so that it can do nothing else.
//
// The program can open the given files, its own executable, prlimit(1) and the system's libraries: a Landlock ruleset refuses all
// other reads and writes. A seccomp filter refuses sockets and all calls that affect other processes. Limits bound its memory, its
// processor time and the size of the files that it writes. It cannot gain privileges.
//
// It is for short runs of a tool. It does not confine a service: that is the work of systemd, in package units/pair.
//
// A transient unit would do the same, but costs 20 to 50 ms each time, more than the runs themselves take. Namespaces are not
// possible, because the daemon's own unit forbids them. So a thread restricts itself, starts the program, which inherits the
// restrictions, and ends: see package spawn. Limits belong to processes, so prlimit(1) sets them in the new one before it executes the
// program.
package confine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	"github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/units/spawn"
)

// Rules are what a program may do.
type Rules struct {
	// Read and Write are open files that the program may open again: for reading, and for reading and writing. Only these very
	// files: another file that has got the name since is refused.
	Read, Write []*os.File
	// ProgramDirs are directories of more programs that it may run and read.
	ProgramDirs []string
	Limits      Limits
}

// Limits bound what a program uses. 0 allows nothing.
type Limits struct {
	MemoryBytes uint64        // of address space
	FileBytes   uint64        // of each file that it writes: no write may go beyond this offset
	CPU         time.Duration // processor time, rounded up to seconds
}

// Supported returns why programs cannot be fully confined here, because of the kernel or of this process's own filter of system
// calls; nil if they can. Run then applies the restrictions that work: without Landlock a program can open all that the file system
// allows its user, without seccomp it can open sockets.
func Supported() error { return errors.Join(landlockSupported(), seccompSupported()) }

func landlockSupported() error {
	if _, err := syscall.LandlockGetABIVersion(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

func seccompSupported() error {
	if !seccomp.Supported() {
		return errors.New("seccomp: not available, or not allowed")
	}
	return nil
}

// Run is spawn.Run for a confined program. The program inherits the ExtraFiles; it can open them again by /proc/self/fd only if they
// have no name in any file system.
func Run(ctx context.Context, cmd *exec.Cmd, r Rules) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	if _, err := exec.LookPath(cmd.Path); err != nil { // prlimit would only print that
		return err
	}
	limiter, err := exec.LookPath("prlimit")
	if err != nil { // not wrapped: it is not the program that is missing
		return fmt.Errorf("confine %s: install util-linux: %v", cmd.Path, err)
	}
	var thread spawn.Restriction
	var flags uint32
	if landlockSupported() == nil {
		ruleset, rulesetFlags, err := r.ruleset(cmd.Path, limiter)
		if err != nil {
			return err
		}
		defer ruleset.Close() //nolint:errcheck // nothing was written
		thread.Files, flags = []*os.File{ruleset}, rulesetFlags
	}
	var filter *unix.SockFprog
	if seccompSupported() == nil {
		if filter, err = callFilter(); err != nil {
			return err
		}
	}
	thread.Apply = func(fds []int) error { return restrictThread(fds, flags, filter) }
	cmd.Args = append(r.Limits.command(limiter, cmd.Path), cmd.Args[min(1, len(cmd.Args)):]...)
	cmd.Path = limiter
	return spawn.RunRestricted(ctx, cmd, thread)
}

// restrictThread restricts the calling thread: by a Landlock ruleset, if there is one, and by a filter of system calls. It makes only
// calls that affect this thread alone.
func restrictThread(ruleset []int, flags uint32, filter *unix.SockFprog) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot confine: no_new_privs: %w", err)
	}
	if len(ruleset) > 0 {
		if err := syscall.LandlockRestrictSelf(ruleset[0], flags); err != nil {
			return fmt.Errorf("cannot confine: landlock: %w", err)
		}
	}
	if filter != nil {
		if err := install(filter); err != nil {
			return fmt.Errorf("cannot confine: seccomp: %w", err)
		}
	}
	return nil
}

// command is the start of a command line: prlimit(1) sets the limits of the process and executes the program.
func (l Limits) command(limiter, program string) []string {
	cpu := uint64(math.Ceil(l.CPU.Seconds()))
	return []string{
		limiter, "--core=0",
		fmt.Sprintf("--cpu=%d:%d", cpu, cpu+2), // SIGXCPU at the lower limit, which shows the cause; SIGKILL at the upper
		fmt.Sprintf("--fsize=%d", l.FileBytes), fmt.Sprintf("--as=%d", l.MemoryBytes),
		"--", program,
	}
}

// libraryDirs and libraryFiles are what every program needs besides its executable.
var (
	libraryDirs  = []string{"/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"}
	libraryFiles = []string{"/etc/ld.so.cache", "/dev/urandom"}
)

func (r Rules) ruleset(binary, limiter string) (*os.File, uint32, error) {
	const read, write = landlock.AccessFSSet(syscall.AccessFSReadFile), landlock.AccessFSSet(syscall.AccessFSWriteFile)
	rules := []landlock.Rule{
		landlock.ROFiles(binary, limiter),
		landlock.RODirs(libraryDirs...).IgnoreIfMissing(),
		landlock.ROFiles(libraryFiles...).IgnoreIfMissing(),
		// QEMU tests there whether the kernel has open file description locks; if it cannot, it does not lock images.
		landlock.PathAccess(read|write, os.DevNull),
	}
	for _, dir := range r.ProgramDirs {
		rules = append(rules, landlock.RODirs(dir))
	}
	for _, f := range r.Read {
		rules = append(rules, landlock.PathAccess(read, self(f)))
	}
	for _, f := range r.Write {
		rules = append(rules, landlock.RWFiles(self(f)))
	}
	fd, flags, err := landlock.V11.BestEffort().NewRulesetFD(rules...)
	if err != nil {
		return nil, 0, fmt.Errorf("confine %s: %w", binary, err)
	}
	if fd < 0 {
		return nil, 0, fmt.Errorf("confine %s: landlock restricts nothing", binary)
	}
	return os.NewFile(uintptr(fd), "ruleset"), flags, nil
}

// self is a path that leads to this open file and to no other.
func self(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }
