package dbfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What a killed process left beside the database is removed when it is old, and nothing else is.
func TestStale(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "a[b]*c")
	path := filepath.Join(directory, "agent.db")
	long := time.Now().Add(-2 * staleAge)
	for _, name := range []string{"agent.db.new-1", "agent.db.new-2/agent.db", "agent.db.damaged-20260101T000000Z", "other.new-1", "agent.db.new-3"} {
		file := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "agent.db.new-3" {
			continue // it is being made
		}
		for _, old := range []string{file, filepath.Dir(file)} {
			if err := os.Chtimes(old, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	openPath(t, path)
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"agent.db", "agent.db.damaged-20260101T000000Z", "agent.db.new-3", "other.new-1"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}
