package dbfile

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LockedError says that another process has the database open.
type LockedError struct {
	Path    string
	Holders []string // "name (pid 123)", as far as /proc/locks tells; may be empty
}

func (e *LockedError) Error() string {
	holders := "another process"
	if len(e.Holders) > 0 {
		holders = strings.Join(e.Holders, ", ")
	}
	return fmt.Sprintf("database %s: locked by %s: stop it first", e.Path, holders)
}

// lockHolders names the processes that hold a lock on a file. The kernel lists locks by device and inode. On some file systems
// stat reports other numbers: then no holder is found.
func lockHolders(path string) []string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	var holders []string
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:00:131090 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		if holder := processName(f[4]); !slices.Contains(holders, holder) {
			holders = append(holders, holder)
		}
	}
	return holders
}

func processName(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		name = []byte("a process")
	}
	if pid == strconv.Itoa(os.Getpid()) {
		return "this process"
	}
	return fmt.Sprintf("%s (pid %s)", bytes.TrimSpace(name), pid)
}
