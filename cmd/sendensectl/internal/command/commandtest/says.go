package commandtest

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
)

// Says fails the test unless the output contains the words.
func Says(t *testing.T, what string, print func(p *output.Printer), words ...string) {
	t.Helper()
	p := &output.Printer{}
	print(p)
	got := strings.Join(strings.Fields(p.Text()), " ")
	for _, w := range words {
		if !strings.Contains(got, w) {
			t.Errorf("%s: %q does not contain %q", what, got, w)
		}
	}
}
