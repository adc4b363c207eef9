package agent

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// TestPlanRewrites: what is beside a restore point of ours goes, and a rewriting that was cut short comes to its end; what nobody
// knows stays.
func TestPlanRewrites(t *testing.T) {
	point := record.Backup{ID: "b", State: record.Completed, Repository: "main", Directory: "/r/vm/b"}
	beside := directory{repository: "main", vm: "vm", backupID: "b", path: "/r/vm/.merge-b"}
	marked := point
	marked.Merge = &record.Merge{StartedAt: time.Unix(1, 0)}
	elsewhere, failed := point, point
	elsewhere.Repository, failed.State = "other", record.Failed
	for name, c := range map[string]struct {
		world world
		steps int
	}{
		"cut short before a directory":   {world{rewrites: []record.Backup{marked}}, 1},
		"cut short with a directory":     {world{rewrites: []record.Backup{marked}, merges: []directory{beside}, records: map[string]record.Backup{"b": marked}}, 1},
		"left by one whose mark is lost": {world{merges: []directory{beside}, records: map[string]record.Backup{"b": point}}, 1},
		"of nobody":                      {world{merges: []directory{beside}}, 0},
		"of another repository":          {world{merges: []directory{beside}, records: map[string]record.Backup{"b": elsewhere}}, 0},
		"of a backup that failed":        {world{merges: []directory{beside}, records: map[string]record.Backup{"b": failed}}, 0},
	} {
		steps := plan(c.world)
		if len(steps) != c.steps {
			t.Errorf("%s: %+v", name, steps)
		}
		for _, s := range steps {
			if s.action != settleRewrite || s.backupID != "b" || s.reason == "" {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
}

// TestPruneDue: once a day, at the first moment that somebody is there, whatever the clocks do.
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
		{"2026-11-20 12:00", "2026-11-20 23:00", false}, // somebody did it by hand
		{"2026-11-20 03:00", "2026-11-20 04:31", true},
		{"2031-01-01 04:30", "2026-11-20 12:00", false}, // the clock was set back
		{"2031-01-01 04:30", "2026-11-20 04:30", true},
	} {
		if got := pruneDue(at(c.last), at(c.now), 4, 30); got != c.due {
			t.Errorf("last %s, now %s: due %v", c.last, c.now, got)
		}
	}
	// 02:30 is left out when summer time begins, and comes twice when it ends.
	if !pruneDue(at("2026-03-28 02:30"), at("2026-03-29 04:00"), 2, 30) {
		t.Error("a time that the clocks leave out is not made up for")
	}
	if pruneDue(at("2026-10-25 02:31"), at("2026-10-25 02:31").Add(time.Hour), 2, 30) {
		t.Error("a time that comes twice is taken twice")
	}
}
