package terminal

import (
	"bytes"
	"os"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal/terminaltest"
)

func TestWidthAndColour(t *testing.T) {
	for _, name := range []string{"COLUMNS", "NO_COLOR", "TERM"} {
		t.Setenv(name, "") // tests do not depend on the caller's
	}
	terminal, read := terminaltest.Open(t, 100)
	defer read()
	for _, tt := range []struct {
		env    map[string]string
		word   string
		file   any
		width  int
		colour bool
	}{
		{map[string]string{}, "auto", terminal, 100, true},
		{map[string]string{"TERM": "dumb"}, "auto", terminal, 100, false},
		{map[string]string{"NO_COLOR": "1"}, "auto", terminal, 100, false},
		{map[string]string{"NO_COLOR": "1"}, "always", terminal, 100, true},
		{map[string]string{"COLUMNS": "66"}, "never", terminal, 66, false},
		{map[string]string{"COLUMNS": "0x1"}, "auto", new(bytes.Buffer), 0, false},
		{map[string]string{"COLUMNS": "66"}, "always", new(bytes.Buffer), 66, true},
	} {
		for name, value := range tt.env {
			os.Setenv(name, value)
		}
		w := tt.file.(interface{ Write([]byte) (int, error) })
		if got, colour := Width(w), WantsColor(tt.word, w); got != tt.width || colour != tt.colour {
			t.Errorf("%v --color %s: %d columns, colour %v", tt.env, tt.word, got, colour)
		}
		for name := range tt.env {
			os.Setenv(name, "")
		}
	}
}
