package client

import "testing"

// TestHabitsAreReal: the numbers are those of the real SBC.
func TestHabitsAreReal(t *testing.T) {
	if tries != 4 || fullWorkers != 3 || sampledBytes != 4<<20 || sampleBytes != 8<<10 || maxGap != 1<<20 {
		t.Error("a habit has changed")
	}
}
