//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// SENDENSE_FAILPOINT is the name of the moment to stop at, or NAME:N for the Nth time that it is reached, from 1.
// SENDENSE_FAILPOINT_FILE is a file that is created when it is. SENDENSE_FAILPOINT_LOG is a file that every moment reached
// is appended to, one to a line.
var (
	wanted, nth = parse(os.Getenv("SENDENSE_FAILPOINT"))
	signFile    = os.Getenv("SENDENSE_FAILPOINT_FILE")
	logFile     = os.Getenv("SENDENSE_FAILPOINT_LOG")
	reached     atomic.Int64
)

func parse(text string) (string, int64) {
	if i := strings.LastIndexByte(text, ':'); i >= 0 { // names may hold a colon too
		if n, err := strconv.ParseInt(text[i+1:], 10, 64); err == nil {
			return text[:i], n
		}
	}
	return text, 1
}

// Reach marks a moment, and never returns from the one that is wanted.
func Reach(name string) {
	if logFile != "" {
		appendLine(logFile, name)
	}
	if name != wanted || reached.Add(1) != nth {
		return
	}
	if err := os.WriteFile(signFile, []byte(name), 0o600); err != nil {
		panic(err)
	}
	select {}
}

func appendLine(path, line string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}
