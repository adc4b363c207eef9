// Package retention says which restore points a policy keeps, and what happens to the others. It only computes.
//
// The rules are those of restic. Points are visited from the newest to the oldest. Of each hour, day, week, month and year the
// last point counts. The oldest point of all is kept for a rule that has found fewer periods than it may keep.
//
// Dates come from a clock, which may have been wrong. So the order of the points is a sequence that no clock gives, and a date
// that contradicts it, or is in the future, is not believed: dates.go.
package retention

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Unlimited is a count without a limit.
const Unlimited = -1

// A Policy says which restore points are kept. A point is kept if any rule keeps it.
type Policy struct {
	Last                                   int           // of the newest points; 0 = none, Unlimited = all
	Hourly, Daily, Weekly, Monthly, Yearly int           // periods whose last point is kept
	Within                                 time.Duration // before the newest point; 0 = no such rule
	MinAge                                 time.Duration // younger points are never removed, whatever the rules say
	MaxChain                               int           // restore points that the newest may have in its chain; 0 = any number
	Merge                                  bool          // an expired point is merged into those based on it; else it stays until they are removed
}

// KeepsNothing says whether no rule of the policy keeps anything.
func (p Policy) KeepsNothing() bool {
	return p.Last == 0 && p.Hourly == 0 && p.Daily == 0 && p.Weekly == 0 && p.Monthly == 0 && p.Yearly == 0 && p.Within == 0
}

// A Point is a completed restore point.
type Point struct {
	ID, Parent string
	Sequence   uint64    // the order in which the points of one VM in one repository were made
	CreatedAt  time.Time // the instant of its content, by a clock
	Policy     string    // "" = it is never removed
	Damaged    string    // what is wrong with it; "" = nothing. A damaged point counts for no rule.
}

// keep finds the reasons for which the policy keeps points of one VM in one repository, by id; an expired point has none. It
// skips damaged points: they must not take the place of good ones. The dates of all points are believed.
func (p Policy) keep(points []Point, now time.Time, zone *time.Location) map[string][]string {
	sorted := slices.DeleteFunc(slices.Clone(points), func(x Point) bool { return x.Damaged != "" })
	slices.SortFunc(sorted, newestMadeFirst)
	reasons := map[string][]string{}
	rules := p.rules()
	for i, x := range sorted {
		for r := range rules {
			if reason := rules[r].take(x.CreatedAt.In(zone), i == len(sorted)-1); reason != "" {
				reasons[x.ID] = append(reasons[x.ID], reason)
			}
		}
		if p.Within > 0 && sorted[0].CreatedAt.Sub(x.CreatedAt) <= p.Within {
			reasons[x.ID] = append(reasons[x.ID], "within "+Span(p.Within)+" of the newest")
		}
		if age := now.Sub(x.CreatedAt); p.MinAge > 0 && age < p.MinAge {
			reasons[x.ID] = append(reasons[x.ID], "younger than "+Span(p.MinAge))
		}
	}
	return reasons
}

// A rule keeps the last point of each of a number of periods.
type rule struct {
	name   string
	left   int
	period func(time.Time) string // its name; points of one period have one name
	last   string
}

func (p Policy) rules() []rule {
	point := 0
	return []rule{
		{name: "last", left: p.Last, period: func(time.Time) string { point++; return fmt.Sprintf("#%d", point) }},
		// The hour that occurs twice when the clocks are set back is two hours: their offsets from UTC differ.
		{name: "hourly", left: p.Hourly, period: func(t time.Time) string { return t.Format("2006-01-02 15h -0700") }},
		{name: "daily", left: p.Daily, period: func(t time.Time) string { return t.Format("2006-01-02") }},
		{name: "weekly", left: p.Weekly, period: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		}},
		{name: "monthly", left: p.Monthly, period: func(t time.Time) string { return t.Format("2006-01") }},
		{name: "yearly", left: p.Yearly, period: func(t time.Time) string { return t.Format("2006") }},
	}
}

// take visits the next older point, and returns why the rule keeps it; "" if it does not.
func (r *rule) take(t time.Time, oldest bool) string {
	if r.left == 0 {
		return ""
	}
	period := r.period(t)
	fresh := period != r.last
	if !fresh && !oldest {
		return ""
	}
	r.last = period
	if r.left > 0 {
		r.left--
	}
	if !fresh {
		return "oldest, for " + r.name
	}
	return r.name + " " + period
}

// Span is a duration as a person writes it in the configuration: in days if it is whole days.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if s, ok := strings.CutSuffix(text, "m0s"); ok {
		text = s + "m"
	}
	if s, ok := strings.CutSuffix(text, "h0m"); ok {
		text = s + "h"
	}
	return text
}
