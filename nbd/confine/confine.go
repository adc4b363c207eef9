// Package confine runs a program that reads untrusted files so that it can do nothing else.
//
// The program can open the given files, its own executable and the system's libraries: a Landlock ruleset refuses all other reads
// and writes. A seccomp filter refuses sockets and all calls that affect other processes. Limits bound its memory, its processor
// time and the size of the files that it writes. It cannot gain privileges.
//
// It is for short runs of a tool. It does not confine a service: that is the work of systemd, in package units/pair.
//
// A transient unit would do the same, but costs 20 to 50 ms each time, more than the runs themselves take. Namespaces are not
// possible, because the daemon's own unit forbids them. So the executable starts itself again, as a launcher that sets the
// restrictions and then executes the program: see launch.go.
package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	"github.com/landlock-lsm/go-landlock/landlock/syscall"
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

// Run is cmd.Run for a confined program. The program inherits the ExtraFiles; it can open them again by /proc/self/fd only if they
// have no name in any file system.
func Run(cmd *exec.Cmd, r Rules) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	order := order{Limits: r.Limits, Filter: seccompSupported() == nil}
	if landlockSupported() == nil {
		ruleset, flags, err := r.ruleset(cmd.Path)
		if err != nil {
			return err
		}
		defer ruleset.Close() //nolint:errcheck // nothing was written
		order.Ruleset, order.Flags = firstExtraFD+len(cmd.ExtraFiles), flags
		cmd.ExtraFiles = append(slices.Clone(cmd.ExtraFiles), ruleset)
	}
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	cmd.Args = append([]string{launcher, string(text), cmd.Path}, cmd.Args...)
	cmd.Path = "/proc/self/exe" // the same version, also if an upgrade has replaced the file
	return cmd.Run()
}

// libraryDirs and libraryFiles are what every program needs besides its executable.
var (
	libraryDirs  = []string{"/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"}
	libraryFiles = []string{"/etc/ld.so.cache", "/dev/urandom"}
)

func (r Rules) ruleset(binary string) (*os.File, uint32, error) {
	const read, write = landlock.AccessFSSet(syscall.AccessFSReadFile), landlock.AccessFSSet(syscall.AccessFSWriteFile)
	rules := []landlock.Rule{
		landlock.ROFiles(binary),
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
