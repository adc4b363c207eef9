package commands_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

// The daemon's pages and that of its configuration are written, and mandoc finds nothing wrong with them.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command(hubtest.Program("sendense-agent"), "man", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"sendense-agent.8", "sendense-agent-check-config.8", "sendense-agent-rebuild.8", "sendense-agent-doctor.8", "sendense-agent.toml.5"} {
		if out, err := exec.Command("mandoc", "-T", "lint", "-W", "warning", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Errorf("%v (package mandoc)\n%s", err, out)
		}
	}
}

// The daemon's commands complete too, and what cobra would offer where nothing fits, files, they do not.
func TestCompletionOfTheDaemon(t *testing.T) {
	complete := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(hubtest.Program("sendense-agent"), args...).Output()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return string(out)
	}
	for shell, has := range map[string]string{"bash": "__start_sendense-agent", "zsh": "compdef _sendense-agent sendense-agent", "fish": "complete -c sendense-agent"} {
		if script := complete("completion", shell); !strings.Contains(script, has) {
			t.Errorf("%s: no %q", shell, has)
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"doc", "doctor\tLook whether this machine can back up, and say what to do about what is wrong\n:4\n"},
		{"doctor --output ", "text\njson\n:4\n"},
		{"rebuild --output ", "text\njson\n:4\n"},
		{"check-config ", ":4\n"},
		{"check-config --config ", "toml\n:8\n"}, // the ending of file names
	} {
		if got := complete(append([]string{"__complete"}, strings.Split(tt.args, " ")...)...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
}
