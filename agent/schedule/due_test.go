package schedule

import (
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units/spawn"
)

func TestMain(m *testing.M) {
	if err := spawn.Reserve(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func table(t *testing.T, c config.Schedule) timetable {
	t.Helper()
	c.ID = "nightly"
	tt, err := newTimetable(t.Context(), c)
	must(t, err)
	return tt
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	must(t, err)
	return v
}

// TestJudge: why a due time brings no run.
func TestJudge(t *testing.T) {
	due := "2026-12-24T22:00:00+01:00"
	berlin := config.Schedule{Calendar: "22:00", TimeZone: "Europe/Berlin"}
	with := func(change func(*config.Schedule)) config.Schedule {
		c := berlin
		change(&c)
		return c
	}
	for _, tt := range []struct {
		config  config.Schedule
		state   record.ScheduleState
		running string
		now     string
		want    string
	}{
		{berlin, record.ScheduleState{}, "", "2026-12-24T22:00:01+01:00", ""},
		{berlin, record.ScheduleState{PausedSince: at(t, due)}, "", "2026-12-24T22:00:01+01:00", "is paused"},
		{berlin, record.ScheduleState{}, "nightly-1", "2026-12-24T22:00:01+01:00", "run nightly-1 is still in progress"},
		{berlin, record.ScheduleState{}, "", "2026-12-27T10:00:00+01:00", ""}, // made up
		{with(func(c *config.Schedule) { c.SkipMissed = true }), record.ScheduleState{}, "", "2026-12-24T22:06:00+01:00", "it was missed: the agent did not run"},
		{with(func(c *config.Schedule) { c.SkipMissed = true }), record.ScheduleState{}, "", "2026-12-24T22:04:00+01:00", ""},
		{with(func(c *config.Schedule) { c.Window = config.DurationOf(8 * time.Hour) }), record.ScheduleState{}, "", "2026-12-25T05:59:00+01:00", ""},
		{with(func(c *config.Schedule) { c.Window = config.DurationOf(8 * time.Hour) }), record.ScheduleState{}, "", "2026-12-25T06:00:00+01:00", "its window has ended"},
		{with(func(c *config.Schedule) { c.Blackout = []string{"2026-12-24"} }), record.ScheduleState{}, "", "2026-12-24T22:00:01+01:00", "2026-12-24 is a blackout day"},
		{with(func(c *config.Schedule) { c.Blackout = []string{"2026-12-20..2026-12-25"} }), record.ScheduleState{}, "", "2026-12-24T22:00:01+01:00", "blackout"},
		{with(func(c *config.Schedule) { c.Blackout = []string{"2026-12-25"} }), record.ScheduleState{}, "", "2026-12-25T00:01:00+01:00", ""}, // the day when it was due counts
	} {
		c := table(t, tt.config)
		got := c.judge(c.due(at(t, due)), tt.state, tt.running, at(t, tt.now))
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v at %s: %q, want %q", tt.config, tt.now, got, tt.want)
		}
	}
}

// TestSpread: the delay is within the spread, differs between due times, and is the same each time that it is asked for.
func TestSpread(t *testing.T) {
	c := table(t, config.Schedule{Calendar: "22:00", TimeZone: "UTC", Spread: config.DurationOf(time.Hour)})
	seen := map[time.Duration]bool{}
	for day := range 50 {
		due := at(t, "2026-12-01T22:00:00Z").AddDate(0, 0, day)
		d := c.delay(due)
		if d < 0 || d >= time.Hour || d != c.delay(due) {
			t.Errorf("%s: delay %s, then %s", due, d, c.delay(due))
		}
		seen[d] = true
	}
	if len(seen) < 40 {
		t.Errorf("50 delays have %d values", len(seen))
	}
}

// A site is the schedule of a test, with its database and its clock. Runs do not go on by themselves.
type site struct {
	*testing.T
	db    *store.Store
	table timetable
	now   time.Time
}

func newSite(t *testing.T, c config.Schedule, now time.Time) *site {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "agent.db"), store.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return &site{T: t, db: db, table: table(t, c), now: now}
}

// look is what a watcher does at the time of the site, without an agent. It returns the run that it made, if it made one.
func (s *site) look(w *watcher) (record.Run, bool) {
	s.Helper()
	var made []record.Run
	w.begun = func(r record.Run) (record.Run, error) {
		if r.State == record.RunRunning {
			r.State = record.RunCompleted // at once
		}
		r, err := s.db.AddRun(r)
		made = append(made, r)
		return r, err
	}
	must(s.T, w.look(s.Context(), s.now))
	if len(made) == 0 {
		return record.Run{}, false
	}
	return made[0], true
}

func (s *site) watcher() *watcher {
	service := New(Parts{Store: s.db, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return s.now }})
	return &watcher{service: service, config: s.table.config, active: func(string) (record.Run, bool, error) { return record.Run{}, false, nil }}
}

// TestEveryNightOnce: through a year with two changes of the clocks, restarts at any time and downtimes of hours, each night has one run, and
// each run is of another due time.
func TestEveryNightOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := newSite(t, config.Schedule{Calendar: "02:30", TimeZone: "Europe/Berlin"}, at(t, "2026-03-01T12:00:00Z"))
	w, runs := s.watcher(), map[string]int{}
	for end := s.now.AddDate(0, 9, 0); s.now.Before(end); {
		if r, made := s.look(w); made {
			runs[r.Due.In(s.table.zone).Format(time.DateOnly)]++
			if r.State != record.RunCompleted {
				t.Errorf("%s: %s, %s", r.ID, r.State, r.Why)
			}
		}
		s.now = s.now.Add(time.Duration(1+random.IntN(180)) * time.Minute)
		if random.IntN(20) == 0 {
			s.now = s.now.Add(time.Duration(random.IntN(20)) * time.Hour)
			w = s.watcher() // another agent
		}
	}
	for day, last := at(t, "2026-03-02T12:00:00Z"), s.now.AddDate(0, 0, -2); day.Before(last); day = day.AddDate(0, 0, 1) {
		if n := runs[day.Format(time.DateOnly)]; n != 1 {
			t.Errorf("%s has %d runs", day.Format(time.DateOnly), n)
		}
	}
}

// TestLongSpread: a spread that is longer than the time between two runs delays them, and leaves none out for ever.
func TestLongSpread(t *testing.T) {
	s := newSite(t, config.Schedule{Calendar: "hourly", TimeZone: "UTC", Spread: config.DurationOf(3 * time.Hour)}, at(t, "2026-12-01T12:00:00Z"))
	w, runs := s.watcher(), 0
	for end := s.now.Add(24 * time.Hour); s.now.Before(end); s.now = s.now.Add(10 * time.Minute) {
		if _, made := s.look(w); made {
			runs++
		}
	}
	if runs < 6 {
		t.Errorf("%d runs in a day", runs)
	}
}

// TestClockJumps: a clock that is set back by minutes repeats no run; one that was far ahead and is set right begins again from then, and the nights
// that it was ahead of get their runs; one that jumps ahead makes up one run for all that it skipped.
func TestClockJumps(t *testing.T) {
	s := newSite(t, config.Schedule{Calendar: "22:00", TimeZone: "UTC"}, at(t, "2026-12-01T12:00:00Z"))
	w := s.watcher()
	expect := func(now string, want string) {
		t.Helper()
		s.now = at(t, now)
		r, made := s.look(w)
		if made != (want != "") || r.ID != want {
			t.Errorf("at %s: run %q, want %q", now, r.ID, want)
		}
	}
	expect("2026-12-01T12:00:00Z", "")
	expect("2026-12-01T22:00:05Z", "nightly-20261201T220000Z")
	expect("2026-12-01T21:50:00Z", "") // set back
	expect("2026-12-01T22:00:05Z", "")
	expect("2026-12-02T22:00:05Z", "nightly-20261202T220000Z")
	expect("2027-03-10T22:00:05Z", "nightly-20270310T220000Z") // ahead: one run for three months
	expect("2026-12-03T12:00:00Z", "")                         // set right
	expect("2026-12-03T22:00:05Z", "nightly-20261203T220000Z")
	expect("2026-12-04T22:00:05Z", "nightly-20261204T220000Z")
	expect("2027-03-10T21:00:00Z", "nightly-20270309T220000Z")
	expect("2027-03-10T22:00:05Z", "nightly-20270310T220000Z-2") // the night for which there is one of the wrong clock
	expect("2027-03-10T22:00:05Z", "")
}
