package trial

import (
	"fmt"
	"os"
	"testing"
)

// A name of a running doctor is not stale, and neither is a name of something else.
func TestIsStale(t *testing.T) {
	for name, want := range map[string]bool{
		fmt.Sprintf("%s%d-ab", Prefix, os.Getpid()): false,
		Prefix + "1-ab":            false,
		Prefix + "-ab":             false,
		Prefix + "0-ab":            false,
		Prefix + "../x-ab":         false,
		"sendense-nbd-99999999-ab": false,
		Prefix + "99999999":        false,
		Prefix + "99999999-a":      true,
	} {
		if isStale(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}
