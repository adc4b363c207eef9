package record

import (
	"slices"
	"strings"
	"testing"
)

// legalOfRestore is the diagram of the states of a restore, written down a second time.
var legalOfRestore = map[RestoreState]string{
	RestorePreparing: "exporting stopping",
	RestoreExporting: "serving stopping",
	RestoreServing:   "stopping",
	RestoreStopping:  "ended failed",
	RestoreEnded:     "",
	RestoreFailed:    "",
}

func TestEveryPairOfRestoreStates(t *testing.T) {
	if len(legalOfRestore) != len(RestoreStates) {
		t.Fatalf("%d states, the test knows %d", len(RestoreStates), len(legalOfRestore))
	}
	for _, from := range RestoreStates {
		for _, to := range RestoreStates {
			err := CheckRestoreTransition(from, to)
			if want := slices.Contains(strings.Fields(legalOfRestore[from]), string(to)); (err == nil) != want {
				t.Errorf("%s to %s: %v, want allowed %v", from, to, err, want)
			}
		}
		if from.Active() != (legalOfRestore[from] != "") {
			t.Errorf("%s: active %v", from, from.Active())
		}
	}
}
