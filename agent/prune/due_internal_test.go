package prune

import (
	"testing"
	"time"
)

// TestPruneDue: a prune is due once a day, at the first moment that the agent runs, whatever the clocks do.
func TestPruneDue(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		moment, err := time.ParseInLocation("2006-01-02 15:04", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	for _, c := range []struct {
		last, now string
		due       bool
	}{
		{"2026-11-20 04:30", "2026-11-20 12:00", false},
		{"2026-11-20 04:30", "2026-11-21 04:29", false},
		{"2026-11-20 04:30", "2026-11-21 04:30", true},
		{"2026-11-20 04:30", "2026-11-24 01:00", true},  // the hub was off
		{"2026-11-20 12:00", "2026-11-20 23:00", false}, // a person started it
		{"2026-11-20 03:00", "2026-11-20 04:31", true},
		{"2031-01-01 04:30", "2026-11-20 12:00", false}, // the clock was set back
		{"2031-01-01 04:30", "2026-11-20 04:30", true},
	} {
		if got := pruneDue(at(c.last), at(c.now), 4, 30); got != c.due {
			t.Errorf("last %s, now %s: due %v", c.last, c.now, got)
		}
	}
	// 02:30 does not exist when summer time begins, and exists twice when it ends.
	if !pruneDue(at("2026-03-28 02:30"), at("2026-03-29 04:00"), 2, 30) {
		t.Error("a time that the clocks leave out is not made up for")
	}
	if pruneDue(at("2026-10-25 02:31"), at("2026-10-25 02:31").Add(time.Hour), 2, 30) {
		t.Error("a time that comes twice is taken twice")
	}
}
