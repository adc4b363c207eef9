package agenttest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A LockedBuffer is a buffer that several goroutines may write and read.
type LockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns all that was written.
func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// PageFaults returns how many minor page faults a process has had (proc(5), stat).
func PageFaults(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	Must(t, err)
	_, rest, _ := strings.Cut(string(text), ") ") // the name may contain anything
	fields := strings.Fields(rest)
	if len(fields) < 8 {
		t.Fatalf("/proc/%d/stat: %q", pid, text)
	}
	n, err := strconv.ParseInt(fields[7], 10, 64)
	Must(t, err)
	return n
}
