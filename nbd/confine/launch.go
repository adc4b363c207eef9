package confine

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const (
	launcher     = "sendense-confined" // argv[0] of an executable that acts as the launcher
	firstExtraFD = 3                   // of exec.Cmd's ExtraFiles
)

// An order is the launcher's argument. It contains no secrets: all users can see it.
type order struct {
	Ruleset int // inherited descriptor of the Landlock ruleset; 0 for none
	Flags   uint32
	Filter  bool // of system calls
	Limits  Limits
}

// init is the launcher, in a process that was started as one. It runs before main. The arguments are the order, the path of the
// program, and the program's argv.
func init() {
	if os.Args[0] != launcher || len(os.Args) < 4 {
		return
	}
	runtime.LockOSThread() // the restrictions apply to a thread; only the one that calls execve remains
	err := launch(os.Args[1], os.Args[2], os.Args[3:])
	fmt.Fprintf(os.Stderr, "cannot confine: %v\n", err)
	os.Exit(126)
}

func launch(text, path string, args []string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	environment := os.Environ()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if o.Ruleset != 0 {
		if err := landlock.LandlockRestrictSelf(o.Ruleset, o.Flags); err != nil {
			return fmt.Errorf("landlock: %w", err)
		}
		unix.CloseOnExec(o.Ruleset)
	}
	if err := o.Limits.apply(); err != nil {
		return err
	}
	if o.Filter {
		if err := filterCalls(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, args, environment))
}

func (l Limits) apply() error {
	for _, limit := range []struct {
		name     string
		resource int
		value    uint64
		grace    uint64
	}{
		{"core", unix.RLIMIT_CORE, 0, 0},
		// SIGXCPU at the lower limit, which shows the cause; SIGKILL at the upper.
		{"cpu", unix.RLIMIT_CPU, uint64(math.Ceil(l.CPU.Seconds())), 2},
		{"fsize", unix.RLIMIT_FSIZE, l.FileBytes, 0},
		{"as", unix.RLIMIT_AS, l.MemoryBytes, 0},
	} {
		if err := unix.Setrlimit(limit.resource, &unix.Rlimit{Cur: limit.value, Max: limit.value + limit.grace}); err != nil {
			return fmt.Errorf("limit %s: %w", limit.name, err)
		}
	}
	return nil
}
