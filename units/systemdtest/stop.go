package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// StopProcess stops a process with SIGSTOP and returns when none of its threads runs any more: kill(2) only asks for that, and on a busy
// machine the process may do one thing more.
func StopProcess(t testing.TB, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatalf("stop process %d: %v", pid, err)
	}
	if !waitFor(patience, func() bool { return !runs(pid) }) {
		t.Fatalf("process %d still runs %s after SIGSTOP", pid, patience)
	}
}

// runs reports whether a thread of a process is neither stopped nor dead.
func runs(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		text := string(stat) // "PID (NAME) STATE ...", proc_pid_stat(5); the name may contain anything
		if state := text[strings.LastIndexByte(text, ')')+2]; !strings.ContainsRune("TtZX", rune(state)) {
			return true
		}
	}
	return false
}
