package repositories

import (
	"testing"
	"time"
)

// TestTuner: the number of reads follows what the storage can do, and stays there.
func TestTuner(t *testing.T) {
	for name, c := range map[string]struct {
		rate        func(reads int) float64 // bytes a second
		least, most int
	}{
		"one read is as fast as many":   {func(int) float64 { return 1e9 }, 1, 2},
		"each read is slowed by others": {func(n int) float64 { return 1e9 / float64(n) }, 1, 2},
		"it grows up to 8 reads":        {func(n int) float64 { return 1e8 * float64(min(n, 8)) }, 8, 9},
		"it grows without an end":       {func(n int) float64 { return 1e8 * float64(n*n) }, mostReads, mostReads},
	} {
		tuner, now := newTuner(), time.Unix(0, 0)
		for minute := range 20 {
			for range 60 {
				now = now.Add(time.Second)
				tuner.read(int64(c.rate(tuner.limit)), true, now)
				if minute > 2 && (tuner.limit < c.least-1 || tuner.limit > c.most) || tuner.limit < 1 || tuner.limit > mostReads {
					t.Fatalf("%s: minute %d: %d reads at once, want %d to %d", name, minute, tuner.limit, c.least, c.most)
				}
			}
		}
	}
}

// TestTunerOnlyJudgesWhenFull: a rate that fewer reads than the limit have caused says nothing.
func TestTunerOnlyJudgesWhenFull(t *testing.T) {
	tuner, now := newTuner(), time.Unix(0, 0)
	for i := range 1000 {
		now = now.Add(time.Second)
		tuner.read(int64(i)<<20, i%3 != 0, now)
	}
	if tuner.limit != firstReads {
		t.Errorf("%d reads at once", tuner.limit)
	}
}
