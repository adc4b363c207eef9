package language

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var searched = regexp.MustCompile(`journalctl (?:-u|--unit=)[^\n]*-g '([^']*)'`)

// TestSearchedInTheJournal: what the documents search the journal for is in a string literal of the programs.
func TestSearchedInTheJournal(t *testing.T) {
	var said strings.Builder
	patterns := map[string]string{}
	for _, path := range files(t) {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		switch filepath.Ext(path) {
		case ".go":
			list, err := allLiterals(path, content)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				said.WriteString(p.text + "\n")
			}
		case ".md", ".yml":
			for _, m := range searched.FindAllStringSubmatch(string(content), -1) {
				for _, pattern := range strings.Split(m[1], "|") {
					patterns[pattern] = path
				}
			}
		}
	}
	if len(patterns) < 4 {
		t.Errorf("the documents search the journal only for %v", patterns)
	}
	for pattern, path := range patterns {
		if !strings.Contains(said.String(), pattern) {
			t.Errorf("%s searches the journal for %q, which no program writes", path, pattern)
		}
	}
}
