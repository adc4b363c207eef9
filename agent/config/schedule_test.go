package config

import (
	"testing"
	"time"
)

// TestRateLimit: the first of the limits that covers the time of day counts, also across midnight.
func TestRateLimit(t *testing.T) {
	s := Schedule{RateLimits: []string{"07:00-19:00 50MiB", "18:00-02:00 100MiB"}}
	for at, want := range map[string]int64{"06:59": 0, "07:00": 50 << 20, "18:59": 50 << 20, "19:00": 100 << 20, "01:59": 100 << 20, "02:00": 0} {
		day, err := time.Parse("15:04", at)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.RateLimit(day); got != want {
			t.Errorf("%s: %d, want %d", at, got, want)
		}
	}
}
