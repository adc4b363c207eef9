// Package confine runs a program that reads untrusted files so that it can do nothing but that.
//
// The program sees the files it is given, by whatever name they have when it opens them, its own executable and the
// system's libraries: a Landlock ruleset refuses all else, in reading and in writing. A seccomp filter refuses sockets, and
// whatever reaches other processes. Limits bound its memory, its processor time and the size of what it writes. It cannot
// gain privileges.
//
// A transient unit would do the same and costs 20 to 50 ms each time, more than all that is run here takes. Namespaces are
// no way, because the daemon's own unit may make none. So the executable starts itself anew, as a launcher that puts the
// fetters on and becomes the program: see launch.go.
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

// Rules say what a program may do.
type Rules struct {
	// Read and Write are open files that the program may open anew, for reading, and for both. It is these very files that
	// it may open: what has taken a file's name since is refused.
	Read, Write []*os.File
	// ProgramDirs hold more that it may run, and read.
	ProgramDirs []string
	Limits      Limits
}

// Limits are where a program is stopped. 0 stands for nothing at all.
type Limits struct {
	MemoryBytes uint64        // of address space
	FileBytes   uint64        // where a write must end at the latest, counted from a file's beginning
	CPU         time.Duration // in whole seconds
}

// Supported says why the kernel, or the filter of system calls that this process has, keeps programs from being confined as
// they should; nil if nothing does. Run then does what can be done: without Landlock a program may open what the file system
// allows its user, without seccomp it may open sockets.
func Supported() error { return errors.Join(landlockSupported(), seccompSupported()) }

func landlockSupported() error {
	if _, err := syscall.LandlockGetABIVersion(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

func seccompSupported() error {
	if !seccomp.Supported() {
		return errors.New("seccomp: is not there, or not allowed")
	}
	return nil
}

// Run is cmd.Run, with the program confined. It may open the ExtraFiles anew if they have no name in any file system.
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
	cmd.Path = "/proc/self/exe" // the same version, also when the file was replaced by an upgrade
	return cmd.Run()
}

// libraryDirs and libraryFiles are what every program needs besides itself.
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
		// QEMU finds out there whether the kernel has locks of open files, and does without when it cannot.
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

// self is a name of an open file that leads to it and to no other.
func self(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }
