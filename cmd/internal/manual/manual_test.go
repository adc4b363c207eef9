package manual

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
)

// lint fails the test if mandoc finds an error in a page.
func lint(t *testing.T, name, page string) {
	t.Helper()
	cmd := exec.Command("mandoc", "-T", "lint", "-W", "warning")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v (package mandoc)\n%s", name, err, out)
	}
}

// read is the text of a page, with single blanks.
func read(t *testing.T, page string) string {
	t.Helper()
	cmd := exec.Command("mandoc", "-T", "utf8", "-O", "width=500")
	cmd.Stdin = strings.NewReader(page)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v (package mandoc)", err)
	}
	text := regexp.MustCompile(".\b").ReplaceAll(out, nil) // bold is struck twice
	return string(bytes.Join(bytes.Fields(text), []byte(" ")))
}

func TestPages(t *testing.T) {
	root := &cobra.Command{
		Use: "tool COMMAND", Short: "Do things", Long: "tool does 'things'.\n\n.Not a macro, no \\fBfont\\fR, -not -a hyphen\n\nExit codes:\n  0  done\n  1  not done\n\nAn end.\n\n  code  as it is",
	}
	child := &cobra.Command{Use: "make THING", Short: "Make a thing", Example: "  tool make 'a b'", Run: func(*cobra.Command, []string) {}}
	child.Flags().StringP("name", "n", "x", "its `NAME`")
	child.Flags().Bool("fast", false, "do not wait")
	hidden := &cobra.Command{Use: "secret", Hidden: true, Run: func(*cobra.Command, []string) {}}
	root.PersistentFlags().String("socket", "/run/x", "the `PATH`")
	root.AddCommand(child, hidden)
	pages := Book{Section: 1, Version: "1.2", SeeAlso: "other(8)"}.Pages(root)
	if len(pages) != 2 {
		t.Fatalf("%d pages", len(pages))
	}
	for name, wants := range map[string][]string{
		"tool.1": {
			"tool does 'things'. .Not a macro, no \\fBfont\\fR, -not -a hyphen An end. code as it is", "COMMANDS make (tool-make(1)) Make a thing",
			"EXIT STATUS 0 Done 1 Not done", "SEE ALSO other(8)", "SYNOPSIS tool COMMAND [flags]",
		},
		"tool-make.1": {
			"tool-make - Make a thing", "SYNOPSIS tool make THING [flags]", "--fast Do not wait", "-n, --name NAME Its NAME (default x)", "COMMON OPTIONS --socket PATH",
			"EXIT STATUS 0 Done", "EXAMPLES tool make 'a b'", "SEE ALSO tool(1), other(8)",
		},
	} {
		lint(t, name, pages[name])
		text := read(t, pages[name])
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
	}
}

// TestConfigPage: the page has every key and comment of the default configuration.
func TestConfigPage(t *testing.T) {
	page := ConfigPage("sendense-agent.toml", "/etc/config.toml", "1.2", config.Example())
	lint(t, "the page", page)
	text := read(t, page)
	for line := range strings.Lines(config.Example()) {
		line = strings.TrimSpace(strings.TrimLeft(line, "#"))
		if words := strings.Join(strings.Fields(line), " "); !strings.Contains(text, words) {
			t.Errorf("no %q", words)
		}
	}
	for _, heading := range []string{".SH [agent]", ".SH [[repository]]", ".SH [vcenter.main]"} {
		if !strings.Contains(page, heading) {
			t.Errorf("no %q", heading)
		}
	}
}
