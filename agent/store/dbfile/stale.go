package dbfile

import (
	"os"
	"path/filepath"
	"time"
)

// besidePattern is what a database is called, behind the name it will have, while it is made.
const besidePattern = ".new-*"

// staleAge is longer than a database may take to be made.
const staleAge = 24 * time.Hour

// removeStale removes what a process that was killed while it made a database has left beside the path. What cannot be
// removed stays: it is in nobody's way.
func removeStale(path string, now time.Time) {
	left, _ := filepath.Glob(globEscape(path) + besidePattern) // the pattern is a good one
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && now.Sub(info.ModTime()) > staleAge {
			_ = os.RemoveAll(name)
		}
	}
}

// globEscape makes a pattern that matches a path and nothing else.
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
