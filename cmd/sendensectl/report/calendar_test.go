package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html/atom"

	"github.com/sendense/backup-agent/rpc"
)

// TestCalendarOfRuns: every group has a row, also one that is not configured any more. A day shows its worst run, and all of them in words.
func TestCalendarOfRuns(t *testing.T) {
	e := aWeek()
	due := func(day, hour int) time.Time { return e.from.AddDate(0, 0, day).Add(time.Duration(hour) * time.Hour) }
	e.groups = []rpc.Group{{GroupID: "web", VMCount: 12, Overdue: 1, RPOSeconds: 86400, Schedules: []string{"nightly", "noon"}}, {GroupID: "idle", VMCount: 3}}
	e.ungrouped = 2
	e.runs = []rpc.Run{ // the latest first
		{RunID: "8", ScheduleID: "nightly", GroupIDs: []string{"web"}, Due: due(7, 1), State: rpc.RunFailed}, // after the last day
		{RunID: "7", ScheduleID: "nightly", GroupIDs: []string{"web"}, Due: due(6, 1), State: rpc.RunRunning, Counts: rpc.RunCounts{Completed: 3}},
		{RunID: "6", ScheduleID: "nightly", GroupIDs: []string{"web"}, Due: due(4, 1), State: rpc.RunSkipped, Why: hostile},
		{RunID: "5", ScheduleID: "nightly", GroupIDs: []string{"gone", "web"}, Due: due(3, 1), State: rpc.RunFailed, Counts: rpc.RunCounts{Failed: 12}},
		{RunID: "4", ScheduleID: "noon", GroupIDs: []string{"web"}, Due: due(2, 12), State: rpc.RunPartial, Counts: rpc.RunCounts{Completed: 10, Failed: 1, Canceled: 1}},
		{RunID: "3", ScheduleID: "nightly", GroupIDs: []string{"web"}, Due: due(2, 1), State: rpc.RunCompleted, Counts: rpc.RunCounts{Completed: 12}},
		{RunID: "2", ScheduleID: "nightly", GroupIDs: []string{"web"}, Due: due(1, 1), State: rpc.RunCompleted, Counts: rpc.RunCounts{Completed: 12}},
		{RunID: "1", ScheduleID: "nightly", GroupIDs: []string{"web"}, Due: due(0, 1), State: rpc.RunCanceled, Why: "canceled by root", Counts: rpc.RunCounts{Canceled: 12}},
	}
	doc, page := render(t, e)
	rows := elements(elements(doc, atom.Tbody)[1], atom.Tr)
	var names, classes, texts []string
	for _, tr := range rows {
		names = append(names, strings.TrimSpace(textOf(elements(tr, atom.Th)[0])))
	}
	if want := []string{"web", "idle", "gone not configured"}; !slices.Equal(names, want) {
		t.Fatalf("rows %q, want %q", names, want)
	}
	for _, td := range elements(rows[0], atom.Td) {
		classes, texts = append(classes, attribute(td, "class")), append(texts, textOf(td))
	}
	wantClasses := []string{"c", "k", "p", "x", "s", "", "a", "n", "n age", "n", "n wrap"}
	if !slices.Equal(classes, wantClasses) {
		t.Errorf("got %q, want %q", classes, wantClasses)
	}
	for i, want := range map[int]string{
		0: "01:00 nightly canceled: 12 canceled (canceled by root)", 1: "01:00 nightly completed: 12 completed",
		2: "01:00 nightly completed: 12 completed\n12:00 noon partial: 10 completed, 1 failed, 1 canceled", 5: "", 6: "01:00 nightly running: 3 completed",
		7: "12", 8: "1", 9: "24h00m", 10: "nightly, noon",
	} {
		if texts[i] != want {
			t.Errorf("cell %d is %q, want %q", i, texts[i], want)
		}
	}
	if !strings.Contains(textOf(elements(doc, atom.Main)[0]), "2 VMs are in no group") || strings.ContainsRune(page, '\u202e') {
		t.Error("VMs that are in no group are not shown, or a reason turns the writing around")
	}
	if _, page := render(t, aWeek()); strings.Contains(page, "Scheduled runs") {
		t.Error("a hub without groups has a calendar of runs")
	}
}

// TestCalendarOfManyRuns: a schedule that runs all day does not fill the page.
func TestCalendarOfManyRuns(t *testing.T) {
	e := aWeek()
	for i := range 24 * 60 {
		e.runs = append(e.runs, rpc.Run{ScheduleID: "often", GroupIDs: []string{"web"}, Due: e.from.AddDate(0, 0, 1).Add(-time.Duration(i+1) * time.Minute), State: rpc.RunCompleted})
	}
	cell := e.calendar()[0].Cells[0]
	if cell.Count != 24*60 || !strings.HasSuffix(cell.Text, "\nand 1434 more") || !strings.HasPrefix(cell.Text, "00:00 often completed") {
		t.Errorf("%d, %q", cell.Count, cell.Text)
	}
}

// TestOverdueAsWanted: a VM needs attention when its newest restore point is older than it wants, and the page says both.
func TestOverdueAsWanted(t *testing.T) {
	e := bigEstate(1, 10)
	name := e.vms[0].VMName
	e.backups = e.backups[len(e.backups)-1:]
	e.backups[0].State, e.last[name] = rpc.Completed, e.backups[0]
	for overdue, want := range map[bool]int{false: 0, true: 1} {
		e.wanted[name] = rpc.VMBackups{VMName: name, IntervalSeconds: 4 * 3600, Overdue: overdue}
		page := e.page()
		if len(page.Attention) != want || overdue && !strings.Contains(page.Attention[0].Why, ", wanted every 4h") {
			t.Errorf("overdue %v: %+v", overdue, page.Attention)
		}
	}
}
