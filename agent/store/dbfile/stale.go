package dbfile

import (
	"os"
	"path/filepath"
	"time"
)

// besidePattern follows the name of a file while the file is made.
const besidePattern = ".new-*"

// staleAge is longer than it takes to make a file.
const staleAge = 24 * time.Hour

// removeStale removes what a killed process has left beside the path while it made a file. What cannot be removed stays: it
// does no harm.
func removeStale(path string, now time.Time) {
	left, _ := filepath.Glob(globEscape(path) + besidePattern) // the pattern is valid
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && now.Sub(info.ModTime()) > staleAge {
			_ = os.RemoveAll(name)
		}
	}
}

// globEscape makes a pattern that matches one path and nothing else.
func globEscape(path string) string {
	escaped := make([]rune, 0, len(path))
	for _, r := range path {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			escaped = append(escaped, '\\')
		}
		escaped = append(escaped, r)
	}
	return string(escaped)
}
