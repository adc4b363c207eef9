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
	launcher     = "sendense-confined" // the name by which an executable knows that it is to be the launcher
	firstExtraFD = 3                   // of exec.Cmd's ExtraFiles
)

// An order is what a launcher is told. It holds nothing secret: everybody sees it.
type order struct {
	Ruleset int // descriptor of the one it is handed; 0 for none
	Flags   uint32
	Filter  bool // of system calls
	Limits  Limits
}

// init makes a launcher of a process that was started as one, before anything else of the program runs. Arguments are the
// order, the path of the program, and the program's own arguments, from the name it is called by.
func init() {
	if os.Args[0] != launcher || len(os.Args) < 4 {
		return
	}
	runtime.LockOSThread() // fetters are a thread's; the thread that calls execve is what remains
	err := launch(os.Args[1], os.Args[2], os.Args[3:])
	fmt.Fprintf(os.Stderr, "cannot be confined: %v\n", err)
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
		// At the lower limit comes SIGXCPU, which tells why; at the upper SIGKILL.
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
