package audit

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// TestRefusalsDue: the first one is due, then one a minute, which says how many were left out. A clock that is set back silences nothing.
func TestRefusalsDue(t *testing.T) {
	var s refusals
	one, start := refusal{4001, "vm.put"}, time.Now()
	for _, tt := range []struct {
		after   time.Duration
		omitted int
		due     bool
	}{
		{0, 0, true},
		{time.Second, 0, false},
		{2 * time.Second, 0, false},
		{time.Minute, 2, true},
		{119 * time.Second, 0, false},
		{-time.Hour, 1, true},
	} {
		if omitted, due := s.due(one, start.Add(tt.after)); omitted != tt.omitted || due != tt.due {
			t.Errorf("after %s: %d, %v, want %d, %v", tt.after, omitted, due, tt.omitted, tt.due)
		}
	}
	for uid := range uint32(3 * maxRefusals) {
		s.due(refusal{uid, "vm.put"}, start)
	}
	if len(s.last) > maxRefusals {
		t.Errorf("%d are remembered", len(s.last))
	}
}

// TestRefused: the requests that a user may not make are on record, and do not fill the log.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecorder(open(t, dir), slog.New(slog.DiscardHandler), nil)
	must(t, err)
	mallory, trent := uint32(4001), uint32(4002)
	for range 500 {
		r.Refused(Entry{UID: &mallory, Method: "vm.remove", Reason: "not_allowed", Message: "vm.remove is not allowed for uid 4001"})
	}
	r.Refused(Entry{UID: &mallory, Method: "vm.put", Reason: "not_allowed"})
	r.Refused(Entry{UID: &trent, Method: "vm.remove", Reason: "not_allowed"})
	var got []string
	_, last, err := Read(dir, nil, func(e Entry) error {
		got = append(got, fmt.Sprint(e.Kind, " ", *e.UID, " ", e.Method, " ", e.Reason))
		return nil
	})
	want := []string{"refused 4001 vm.remove not_allowed", "refused 4001 vm.put not_allowed", "refused 4002 vm.remove not_allowed"}
	if err != nil || last.Sequence != 3 || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}
