package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
)

// TestHooks: what a hook lacks is found without running it.
func TestHooks(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, h := range map[string]config.Hook{
		"/bin/true can run, before_run":              {Command: []string{"/bin/true"}, When: config.BeforeRun},
		"/none does not exist":                       {Command: []string{"/none"}},
		plain + " is not an executable file":         {Command: []string{plain}},
		"/bin is not an executable file":             {Command: []string{"/bin"}},
		"unknown user nobody-here":                   {Command: []string{"/bin/true"}, Account: "nobody-here"},
		"/etc/credstore/no-such-name does not exist": {Command: []string{"/bin/true"}, Credentials: []string{"no-such-name"}},
	} {
		h.ID = "h"
		c := config.Default()
		c.Hooks = []config.Hook{h}
		found := hooks(c)
		good := strings.Contains(want, "can run")
		if len(found) != 1 || !strings.Contains(found[0].Message, want) || good != (found[0].Status == OK) || good != (found[0].Hint == "") || found[0].Object != "h" {
			t.Errorf("%+v, want %q", found, want)
		}
	}
	home := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(home, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if problem := programProblem(home); !strings.Contains(problem, "is not visible in the sandbox") {
		t.Errorf("%s: %q", home, problem)
	}
}
