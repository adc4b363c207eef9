package chain

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestLacksNothing: a backup that refuses zeroes is still incomplete if it is based on one that accepted them.
func TestLacksNothing(t *testing.T) {
	exact, lacking := record.Backup{ZeroesRefused: true}, record.Backup{}
	for name, c := range map[string]struct {
		refused   bool
		ancestors []record.Backup
		want      bool
	}{
		"full":                       {refused: true, want: true},
		"full, accepted":             {},
		"on an exact one":            {refused: true, ancestors: []record.Backup{exact, exact}, want: true},
		"on an exact one, accepted":  {ancestors: []record.Backup{exact}},
		"on one that may lack, late": {refused: true, ancestors: []record.Backup{lacking}},
	} {
		if got := LacksNothing(c.refused, c.ancestors); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
