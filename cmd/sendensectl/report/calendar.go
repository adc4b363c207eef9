package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// A groupRow is a group of VMs in the calendar of runs.
type groupRow struct {
	Group     string
	Schedules string // ids
	Known     bool   // it is configured
	VMs       int
	Overdue   int
	Wanted    string // how old the newest restore point of a VM may be
	Cells     []gridCell
}

// calendar has a row for each configured group, then for each group that only has runs.
func (e *estate) calendar() (rows []*groupRow) {
	byID := map[string]*groupRow{}
	add := func(g rpc.Group, known bool) {
		r := &groupRow{Group: g.GroupID, Schedules: strings.Join(g.Schedules, ", "), Known: known, VMs: g.VMCount, Overdue: g.Overdue, Cells: make([]gridCell, e.days)}
		if g.RPOSeconds > 0 {
			r.Wanted = human.Duration(time.Duration(g.RPOSeconds) * time.Second)
		}
		byID[g.GroupID], rows = r, append(rows, r)
	}
	for _, g := range e.groups {
		add(g, true)
	}
	days := map[string]map[int][]rpc.Run{}
	for _, run := range slices.Backward(e.runs) {
		d := e.dayOf(run.Due)
		if d < 0 || d >= e.days {
			continue
		}
		for _, id := range run.GroupIDs {
			if byID[id] == nil {
				add(rpc.Group{GroupID: id}, false)
			}
			if days[id] == nil {
				days[id] = map[int][]rpc.Run{}
			}
			days[id][d] = append(days[id][d], run)
		}
	}
	for id, list := range days {
		for d, runs := range list {
			byID[id].Cells[d] = runsCell(runs, e.at.Location())
		}
	}
	return rows
}

// runMarks are the ways to draw a run. A day gets the first one that one of its runs has.
var runMarks = []struct {
	class string
	state rpc.RunState
}{
	{"x", rpc.RunFailed}, {"p", rpc.RunPartial}, {"a", rpc.RunRunning}, {"c", rpc.RunCanceled}, {"s", rpc.RunSkipped}, {"k", rpc.RunCompleted},
}

// runsCell draws the runs of a day, the earliest first.
func runsCell(runs []rpc.Run, zone *time.Location) (c gridCell) {
	for _, m := range runMarks {
		if slices.ContainsFunc(runs, func(r rpc.Run) bool { return r.State == m.state }) {
			c.Class = m.class
			break
		}
	}
	const most = 6 // a schedule may run each minute
	var lines []string
	for i, r := range runs {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(runs)-most))
			break
		}
		lines = append(lines, r.Due.In(zone).Format("15:04")+" "+r.ScheduleID+" "+runText(r))
	}
	if len(runs) > 1 {
		c.Count = len(runs)
	}
	c.Text = strings.Join(lines, "\n")
	return c
}

// runText says how a run ended.
func runText(r rpc.Run) string {
	var counts []string
	for _, n := range []struct {
		count int
		what  string
	}{{r.Counts.Completed, "completed"}, {r.Counts.Failed, "failed"}, {r.Counts.Skipped, "skipped"}, {r.Counts.Canceled, "canceled"}} {
		if n.count > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	text := string(r.State)
	if len(counts) > 0 {
		text += ": " + strings.Join(counts, ", ")
	}
	if r.Why != "" {
		text += " (" + r.Why + ")"
	}
	return text
}
