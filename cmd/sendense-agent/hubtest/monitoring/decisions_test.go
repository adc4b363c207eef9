package monitoring_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

const decisionsDir = "../../../../docs/decisions"

var (
	decisionFile  = regexp.MustCompile(`^([0-9]{4})-[a-z0-9-]+\.md$`)
	decisionPath  = regexp.MustCompile(`decisions/([0-9]{4}[a-z0-9-]*)`)
	decisionLabel = regexp.MustCompile(`\[[Dd]ecision ([0-9]+)\]\([^)]*?([0-9]{4})-[^)]*\)`)
	decisionWord  = regexp.MustCompile(`[Dd]ecisions? ([0-9]+)`)
)

// TestDecisions: decisions are numbered from 1 without gaps, their titles bear their numbers, and README.md lists each.
func TestDecisions(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(decisionsDir, "README.md"))
	hubtest.Must(t, err)
	files := decisions(t)
	for i, file := range files {
		if want := fmt.Sprintf("%04d-", i+1); !strings.HasPrefix(file, want) {
			t.Fatalf("%s: the decision before it is %d, so it must begin with %s", file, i, want)
		}
		text, err := os.ReadFile(filepath.Join(decisionsDir, file))
		hubtest.Must(t, err)
		heading, _, _ := strings.Cut(string(text), "\n")
		name, ok := strings.CutPrefix(heading, fmt.Sprintf("# %d. ", i+1))
		if !ok {
			t.Errorf("%s: its first line is %q, want # %d. and its title", file, heading, i+1)
		}
		if row := fmt.Sprintf("\n| %d | [%s](%s) | ", i+1, name, file); !strings.Contains(string(table), row) {
			t.Errorf("README.md lacks the row %q", row)
		}
		for _, section := range []string{"\n## Context\n", "\n## Decision"} {
			if !strings.Contains(string(text), section) {
				t.Errorf("%s: has no section %q", file, strings.TrimSpace(section))
			}
		}
	}
	if rows := strings.Count(string(table), "\n| ") - 1; rows != len(files) {
		t.Errorf("README.md has %d rows for %d decisions", rows, len(files))
	}
}

// TestDecisionReferences: every decision that a file of the tree refers to exists, by its path and by its number.
func TestDecisionReferences(t *testing.T) {
	files := decisions(t)
	exists := func(number string) bool {
		n, err := strconv.Atoi(number)
		return err == nil && n >= 1 && n <= len(files)
	}
	references := 0
	for path, text := range treeFiles(t) {
		for _, m := range decisionPath.FindAllStringSubmatch(text, -1) {
			references++
			if !slices.Contains(files, m[1]+".md") {
				t.Errorf("%s: there is no decision %s", path, m[1])
			}
		}
		for _, m := range decisionLabel.FindAllStringSubmatch(text, -1) {
			if label, _ := strconv.Atoi(m[1]); fmt.Sprintf("%04d", label) != m[2] {
				t.Errorf("%s: %s: the label and the file have different numbers", path, m[0])
			}
		}
		for _, m := range decisionWord.FindAllStringSubmatch(text, -1) {
			references++
			if !exists(m[1]) {
				t.Errorf("%s: there is no %s", path, m[0])
			}
		}
	}
	if references < 50 {
		t.Errorf("found only %d references", references)
	}
}

// TestLinksInTheTree: every relative link in a page resolves, also to a heading.
func TestLinksInTheTree(t *testing.T) {
	pages := 0
	for path, text := range treeFiles(t) {
		if filepath.Ext(path) == ".md" {
			pages++
			checkLinks(t, path, text)
		}
	}
	if pages < 40 {
		t.Errorf("found only %d pages", pages)
	}
}

// TestDependencies: the decision on dependencies has a row for each direct requirement of go.mod, and no other.
func TestDependencies(t *testing.T) {
	var listed []string
	for _, file := range decisions(t) {
		if !strings.HasSuffix(file, "-dependencies.md") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(decisionsDir, file))
		hubtest.Must(t, err)
		for _, m := range regexp.MustCompile(`(?m)^\| ([a-z.]+\.[a-z]+/[^ ]+) \|`).FindAllStringSubmatch(string(text), -1) {
			listed = append(listed, m[1])
		}
	}
	text, err := os.ReadFile("../../../../go.mod")
	hubtest.Must(t, err)
	var required []string
	for _, m := range regexp.MustCompile(`(?m)^\t([^ ]+) v[^ ]+$`).FindAllStringSubmatch(string(text), -1) {
		required = append(required, m[1])
	}
	slices.Sort(listed)
	slices.Sort(required)
	if len(required) < 10 || !slices.Equal(listed, required) {
		t.Errorf("go.mod requires\n%s\nand the decision lists\n%s", strings.Join(required, "\n"), strings.Join(listed, "\n"))
	}
}

// decisions lists the files of decisions in order.
func decisions(t *testing.T) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(decisionsDir)
	hubtest.Must(t, err)
	for _, e := range entries {
		switch {
		case decisionFile.MatchString(e.Name()):
			files = append(files, e.Name())
		case e.Name() != "README.md":
			t.Errorf("docs/decisions/%s: want NNNN-title.md", e.Name())
		}
	}
	return files
}

// treeFiles reads the text files of the tree, by path.
func treeFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	hubtest.Must(t, filepath.WalkDir("../../../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == ".git" || name == "dist" || name == "bin" || name == "testdata") {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	return files
}
