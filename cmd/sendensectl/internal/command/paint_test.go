package command

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal/terminaltest"
)

// TestPaintingNeverScrolls: a long answer is cut to the screen, so that the next one is drawn over it.
func TestPaintingNeverScrolls(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := terminaltest.Open(t, 20)
	r := &repeater{app: &App{Stdout: terminal}}
	for range 2 {
		if err := r.paint(strings.Repeat("\x1b[31m日本日本日本日本日本日本\x1b[0m\n", 100)); err != nil {
			t.Fatal(err)
		}
	}
	out := read()
	if got := strings.Count(out, "\n"); got != 2*23 || !strings.Contains(out, "and 78 more lines") {
		t.Errorf("%d lines: %q", got, out)
	}
}
