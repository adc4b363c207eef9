package record

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// legal is the diagram of the package comment, written down a second time.
var legal = map[State]string{
	Queued:     "preparing undoing",
	Preparing:  "exporting undoing",
	Exporting:  "calling undoing",
	Calling:    "unresolved running undoing",
	Unresolved: "running undoing",
	Running:    "finishing undoing",
	Finishing:  "completed undoing",
	Completed:  "deleting",
	Undoing:    "failed cancelled",
	Failed:     "deleting",
	Cancelled:  "deleting",
	Deleting:   "",
}

func TestEveryPairOfStates(t *testing.T) {
	if len(legal) != len(States) {
		t.Fatalf("%d states, the test knows %d", len(States), len(legal))
	}
	for _, from := range States {
		for _, to := range States {
			err := CheckTransition(from, to)
			want := slices.Contains(strings.Fields(legal[from]), string(to))
			var illegal *IllegalTransitionError
			if (err == nil) != want || err != nil && !errors.As(err, &illegal) {
				t.Errorf("%s to %s: %v, want allowed %v", from, to, err, want)
			}
		}
		if from.Terminal() == from.Active() || from.Terminal() != (legal[from] == "" || legal[from] == "deleting") {
			t.Errorf("%s: terminal %v, active %v", from, from.Terminal(), from.Active())
		}
	}
}

// TestEveryStateEnds: from every state an end can be reached, so that no backup is stuck by the table.
func TestEveryStateEnds(t *testing.T) {
	for _, s := range States {
		if !s.Terminal() && !slices.Contains(next[s], Undoing) && s != Undoing {
			t.Errorf("%s cannot be undone", s)
		}
	}
}
