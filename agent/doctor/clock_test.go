package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestDatesAndPrunes: what the daemon reports about wrong clocks becomes findings that say what to do. A daemon that does not answer is
// not a finding here.
func TestDatesAndPrunes(t *testing.T) {
	for _, tt := range []struct {
		name          string
		daemon        Daemon
		err           error
		dates, prunes Status
		says          []string
	}{
		{name: "nothing", dates: OK, prunes: OK},
		{name: "no daemon", err: errors.New("no"), dates: Skipped, prunes: Skipped},
		{
			name: "both", dates: Warning, prunes: Warning,
			daemon: Daemon{FuturePoints: 3, FutureIDs: []string{"backup-a-1", "backup-a-2"}, HeldPrunes: []HeldPrune{{VM: "web 01", Repository: "main", Removed: 9, Points: 12}}},
			says:   []string{": 3: backup-a-1, backup-a-2 and 1 more", "timedatectl", "9 of 12", `prune "web 01" --repository main --yes`},
		},
	} {
		h := &host{askDaemon: func(context.Context) (Daemon, error) { return tt.daemon, tt.err }}
		dates, prunes := h.dates(t.Context()), h.heldPrunes(t.Context())
		if len(dates) != 1 || dates[0].Status != tt.dates || len(prunes) != 1 || prunes[0].Status != tt.prunes {
			t.Errorf("%s: %+v, %+v", tt.name, dates, prunes)
			continue
		}
		text := dates[0].Message + dates[0].Hint + prunes[0].Message + prunes[0].Hint
		for _, w := range tt.says {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q does not say %q", tt.name, text, w)
			}
		}
	}
}
