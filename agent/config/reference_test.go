package config

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the reference")

const reference = "../../docs/configuration.md"

// TestReference: docs/configuration.md agrees with default.toml. "make docs" writes it.
func TestReference(t *testing.T) {
	want := writeReference(t)
	if *update {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/configuration.md is out of date, run make docs:\n%s", diff)
	}
}

var (
	tableLine = regexp.MustCompile(`^#?(\[+[a-z_.]+\]+)$`)
	keyLine   = regexp.MustCompile(`^#?([a-z_]+) = (.*)$`)
)

// writeReference makes the reference from the commented file. A comment describes the line below it; the first comment
// describes the whole file.
func writeReference(t *testing.T) string {
	var out strings.Builder
	out.WriteString("# Configuration\n\n<!-- Made from agent/config/default.toml by \"make docs\". -->\n\n" +
		"The daemon reads one TOML file, `/etc/sendense-agent/config.toml` or what `--config` names. " +
		"[The file with all defaults](../agent/config/default.toml) is what packages install.\n\n")
	var comment []string
	begun := false
	begin := func(table string, example bool) {
		fmt.Fprintf(&out, "\n## `%s`\n\n", table)
		if len(comment) > 0 {
			out.WriteString(strings.Join(comment, " ") + "\n\n")
		}
		shown := "default"
		if example { // no such table exists by default
			shown = "example"
		}
		out.WriteString("| key | " + shown + " | meaning |\n|---|---|---|\n")
	}
	for line := range strings.Lines(Example()) {
		line = strings.TrimSpace(line)
		table, key := tableLine.FindStringSubmatch(line), keyLine.FindStringSubmatch(line)
		switch {
		case table != nil:
			begin(table[1], line[0] == '#')
			comment = nil
		case key != nil:
			if len(comment) == 0 {
				t.Errorf("default.toml: %s has no comment", key[1])
			}
			fmt.Fprintf(&out, "| `%s` | `%s` | %s |\n", key[1], key[2], strings.Join(comment, " "))
			comment = nil
		case line != "":
			comment = append(comment, strings.TrimSpace(strings.TrimPrefix(line, "#")))
		case !begun: // the end of the comment on the whole file
			out.WriteString(strings.TrimSpace(strings.Join(comment[1:], " ")) + "\n")
			begun, comment = true, nil
			out.WriteString("\n| key | default | meaning |\n|---|---|---|\n")
		default:
			comment = nil
		}
	}
	return out.String()
}

// TestGuide: the configuration in docs/operations.md is valid.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(guide)
	if shown == nil {
		t.Fatal("docs/operations.md shows no configuration")
	}
	if _, err := Parse(shown[1]); err != nil {
		t.Error(err)
	}
}
