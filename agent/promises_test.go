package agent_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
)

// TestPromises: every promise in docs/promises.md names a test, and every test named there exists.
func TestPromises(t *testing.T) {
	tests := testsOf(t, "..")
	text, err := os.ReadFile("../docs/promises.md")
	agenttest.Must(t, err)
	named := regexp.MustCompile("`(Test\\w+)(?:/[^`]*)?`")
	promises := 0
	for row := range strings.Lines(string(text)) {
		promise, held, isRow := strings.Cut(strings.Trim(row, "| \n"), " | ")
		if !isRow || promise == "promise" {
			continue
		}
		promises++
		names := named.FindAllStringSubmatch(held, -1)
		if len(names) == 0 {
			t.Errorf("%q names no test", promise)
		}
		for _, name := range names {
			if !tests[name[1]] {
				t.Errorf("%q is held by %s, which does not exist", promise, name[1])
			}
		}
	}
	if promises < 50 {
		t.Errorf("docs/promises.md has only %d promises", promises)
	}
}

// TestOutages: each row of docs/outages.md that says how an outage is noticed names a test, and every test named there exists. Both tables
// are about the same outages.
func TestOutages(t *testing.T) {
	tests := testsOf(t, "..")
	text, err := os.ReadFile("../docs/outages.md")
	agenttest.Must(t, err)
	named := regexp.MustCompile("`(Test\\w+)(?:/[^`]*)?`")
	var parties [][]string
	for row := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(row, "| \n"), " | ")
		switch {
		case len(cells) < 2:
			continue
		case cells[0] == "does not answer":
			parties = append(parties, nil)
			continue
		}
		parties[len(parties)-1] = append(parties[len(parties)-1], cells[0])
		if len(parties) == 1 {
			continue
		}
		names := named.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(names) == 0 {
			t.Errorf("%q names no test", cells[0])
		}
		for _, name := range names {
			if !tests[name[1]] {
				t.Errorf("%q is held by %s, which does not exist", cells[0], name[1])
			}
		}
	}
	if len(parties) != 2 || len(parties[0]) < 10 || !slices.Equal(parties[0], parties[1]) {
		t.Errorf("the tables are about %q", parties)
	}
}

// testsOf returns the names of all tests below a directory.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	tests := map[string]bool{}
	agenttest.Must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(text, -1) {
			tests[string(found[1])] = true
		}
		return err
	}))
	return tests
}
