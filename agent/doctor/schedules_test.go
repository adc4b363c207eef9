package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/run"
)

// TestSchedules: a calendar that systemd cannot read stops backups; a calendar without a next time, a group without a schedule and a VM without a group are warnings.
func TestSchedules(t *testing.T) {
	c := config.Default()
	c.Groups = []config.Group{{ID: "a"}, {ID: "b"}}
	c.Schedules = []config.Schedule{
		{ID: "good", Groups: []string{"a"}, Calendar: "22:00"},
		{ID: "bad", Groups: []string{"a"}, Calendar: "at ten"},
		{ID: "past", Groups: []string{"a"}, Calendar: "2020-01-01 22:00"},
		{ID: "black", Groups: []string{"a"}, Calendar: "*-12-24 22:00", Blackout: []string{"2020-01-01..2999-12-31"}},
	}
	want := map[string]Status{"good": OK, "bad": Error, "past": Warning, "black": Warning, "group b": Warning}
	for _, f := range schedules(t.Context(), c) {
		if want[f.Object] != f.Status {
			t.Errorf("%+v, want %q", f, want[f.Object])
		}
		delete(want, f.Object)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
	forgotten := grouped([]record.VM{{Name: "x"}, {Name: "y"}}, nil)
	if f := forgotten[0]; f.Status != Warning || !strings.Contains(f.Message, "2, such as x, y") {
		t.Errorf("%+v", f)
	}
	if f := grouped(nil, nil)[0]; f.Status != OK {
		t.Errorf("%+v", f)
	}
	if f := grouped(nil, errors.New("no"))[0]; f.Status != Skipped {
		t.Errorf("%+v", f)
	}
}

// TestWindows: a window that was too short in most of the last runs is a warning. One bad night is none, nor is a schedule without a window.
func TestWindows(t *testing.T) {
	c := config.Default()
	for _, id := range []string{"short", "once", "new", "unread", "open"} {
		c.Schedules = append(c.Schedules, config.Schedule{ID: id, Window: config.DurationOf(6 * time.Hour)})
	}
	c.Schedules[4].Window = config.DurationOf(0)
	got := map[string]Finding{}
	for _, f := range windows(c, func(id string) (run.Shortage, error) {
		switch id {
		case "short":
			return run.Shortage{Runs: 3, Short: 2, VMs: 600, Late: 70}, nil
		case "once":
			return run.Shortage{Runs: 3, Short: 1, VMs: 300, Late: 1}, nil
		case "unread":
			return run.Shortage{}, errors.New("no")
		case "open":
			t.Error("a schedule without a window is looked at")
		}
		return run.Shortage{}, nil
	}) {
		got[f.Object] = f
	}
	if f := got["short"]; len(got) != 2 || f.Status != Warning || got["unread"].Status != Skipped ||
		!strings.Contains(f.Message, "6h0m0s is too short: in 2 of its last 3 runs, 70 of 600 VMs") || !strings.Contains(f.Hint, "--schedule short") {
		t.Errorf("%+v", got)
	}
}

// TestNeverBackedUp: a VM that is long on record and has no good restore point is a warning; a new one is none.
func TestNeverBackedUp(t *testing.T) {
	list := []agent.VMBackups{{VMName: "new"}, {VMName: "never", Overdue: true}, {VMName: "old", Overdue: true, Good: new(record.Backup)}}
	if f := neverBackedUp(list, nil)[0]; f.Status != Warning || !strings.HasSuffix(f.Message, ": 1, such as never") {
		t.Errorf("%+v", f)
	}
	if f := neverBackedUp(list[:1], nil)[0]; f.Status != OK {
		t.Errorf("%+v", f)
	}
	if f := neverBackedUp(nil, errors.New("no"))[0]; f.Status != Skipped {
		t.Errorf("%+v", f)
	}
}
