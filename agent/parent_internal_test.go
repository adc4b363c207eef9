package agent

import (
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
)

// TestLacksNothing: refusing zeroes now makes nothing whole of what stands on a backup that accepted them.
func TestLacksNothing(t *testing.T) {
	exact, lacking := backup.Backup{ZeroesRefused: true}, backup.Backup{}
	for name, c := range map[string]struct {
		refused   bool
		ancestors []backup.Backup
		want      bool
	}{
		"full":                       {refused: true, want: true},
		"full, accepted":             {},
		"on an exact one":            {refused: true, ancestors: []backup.Backup{exact, exact}, want: true},
		"on an exact one, accepted":  {ancestors: []backup.Backup{exact}},
		"on one that may lack, late": {refused: true, ancestors: []backup.Backup{lacking}},
	} {
		if got := lacksNothing(c.refused, c.ancestors); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
