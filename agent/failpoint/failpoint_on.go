//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// SENDENSE_FAILPOINT is the name of the point to stop at, or NAME:N for the Nth time that it is reached, from 1.
// SENDENSE_FAILPOINT_FILE is a file that is created when the process stops there. SENDENSE_FAILPOINT_LOG is a file to which every
// point that is reached is appended, one per line.
var (
	wanted, nth = parse(os.Getenv("SENDENSE_FAILPOINT"))
	signFile    = os.Getenv("SENDENSE_FAILPOINT_FILE")
	logFile     = os.Getenv("SENDENSE_FAILPOINT_LOG")
	reached     atomic.Int64
)

func parse(text string) (string, int64) {
	if i := strings.LastIndexByte(text, ':'); i >= 0 { // a name may contain a colon
		if n, err := strconv.ParseInt(text[i+1:], 10, 64); err == nil {
			return text[:i], n
		}
	}
	return text, 1
}

// Reach marks a point. It does not return from the point to stop at.
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

// Environment returns the settings of the points, for another process of the agent: NAME=value.
func Environment() (list []string) {
	for _, setting := range os.Environ() {
		if strings.HasPrefix(setting, "SENDENSE_FAILPOINT") {
			list = append(list, setting)
		}
	}
	return list
}
