package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
)

// TestManualPages: every command has a page with all its flags, and mandoc finds no error.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if code, stdout, stderr := ctl(t, "", "", "man", dir); code != exit.OK || stdout+stderr != "" {
		t.Fatalf("%d %q %q", code, stdout, stderr)
	}
	written, err := filepath.Glob(dir + "/*.1")
	if err != nil || len(written) < 20 {
		t.Fatalf("%q, %v", written, err)
	}
	if out, err := exec.Command("mandoc", append([]string{"-T", "lint", "-W", "warning"}, written...)...).CombinedOutput(); err != nil {
		t.Errorf("%v (package mandoc)\n%s", err, out)
	}
	pages := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		pages++
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(string(page), `\fB`+strings.ReplaceAll("--"+f.Name, "-", `\-`)+`\fR`) {
				t.Errorf("%s: no --%s", c.CommandPath(), f.Name)
			}
		})
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(command.NewRoot(&command.App{}, nouns...))
	if pages != len(written) {
		t.Errorf("%d pages of %d commands", len(written), pages)
	}
}

// TestCompletionScripts: there is a script for each shell.
func TestCompletionScripts(t *testing.T) {
	for shell, has := range map[string]string{"bash": "__start_sendensectl", "zsh": "compdef _sendensectl sendensectl", "fish": "complete -c sendensectl"} {
		code, stdout, stderr := ctl(t, "", "", "completion", shell)
		if code != exit.OK || stderr != "" || !strings.Contains(stdout, has) {
			t.Errorf("%s: %d %s", shell, code, stderr)
		}
	}
	if code, _, stderr := ctl(t, "", "", "completion", "tcsh"); code != exit.Usage || !strings.Contains(stderr, `"tcsh"`) {
		t.Errorf("%d %s", code, stderr)
	}
}
