package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/record"
)

// made gives points the sequence of their places.
func made(points ...Point) []Point {
	for i := range points {
		points[i].Sequence = uint64(i + 1)
	}
	return points
}

// dated is a point of a day of November whose clock said something else.
func dated(p Point, text string) Point {
	p.CreatedAt = at(text)
	return p
}

// TestWrongClocks: a date that cannot be right makes its point count for no rule, and costs no other point its place.
func TestWrongClocks(t *testing.T) {
	const ahead = "2031-11-24T22:00:00Z"
	month := Policy{Within: 30 * 24 * time.Hour}
	for _, c := range []struct {
		name string
		set  Set
		want string
	}{
		{"one backup five years ahead", set(month, made(day("a", "", 20), day("b", "", 21), dated(day("c", "", 22), ahead))...), `keep c: dated by a wrong clock, not removed automatically: its date is in the future
keep b: within 30d of the newest
keep a: within 30d of the newest
delete `},
		{"it takes no slot", set(Policy{Last: 1, Yearly: 1}, made(dated(day("a", "", 20), ahead), day("b", "", 21), day("c", "", 22))...), `keep c: last #1, yearly 2026
delete b: expired
keep a: dated by a wrong clock, not removed automatically: its date is in the future
delete b`},
		{"a minute ahead is none", set(Policy{Last: 1}, made(day("a", "", 20), dated(day("b", "", 21), "2026-11-30T00:01:00Z"))...), `keep b: last #1
delete a: expired
delete a`},
		{"one backup years behind", set(Policy{Last: 1}, made(day("a", "", 20), day("b", "", 21), dated(day("c", "", 22), "2000-01-01T00:00:00Z"))...), `keep c: dated by a wrong clock, not removed automatically: its date is before that of b, which was made earlier
keep b: last #1
delete a: expired
delete a`},
		{"one backup ahead, and its date has passed", set(Policy{Last: 1}, made(dated(day("a", "", 20), "2026-11-29T00:00:00Z"), day("b", "", 21), day("c", "", 22))...), `keep c: last #1
delete b: expired
keep a: dated by a wrong clock, not removed automatically: its date is after that of b, which was made later
delete b`},
		{"two of which either may be wrong", set(Policy{Last: 1}, made(day("a", "", 20), dated(day("b", "", 21), "2000-01-01T00:00:00Z"), day("c", "", 22), day("d", "", 23))...), `keep d: last #1
delete c: expired
keep b: dated by a wrong clock, not removed automatically: its date is before that of a, which was made earlier
keep a: dated by a wrong clock, not removed automatically: its date is after that of b, which was made later
delete c`},
		{"a clock that is set by seconds", set(Policy{Last: 1}, made(day("a", "", 20), dated(day("b", "", 21), "2026-11-20T21:59:30Z"))...), `keep b: last #1
delete a: expired
delete a`},
		{"an incremental of the future is merged into", set(Policy{Last: 1, Merge: true}, made(day("a", "", 20), dated(day("b", "a", 21), ahead), day("c", "", 22))...), `keep c: last #1
keep b: dated by a wrong clock, not removed automatically: its date is in the future
merge a: expired
merge b onto ""
delete a`},
		{"the newest good one is the last made", set(Policy{Last: 1}, made(day("a", "", 20), dated(day("b", "", 21), ahead), Point{
			ID: "c", CreatedAt: at("2026-11-22T22:00:00Z"), Policy: "gold", Damaged: "rotten",
		})...), `keep c: damaged, not removed automatically: rotten
keep b: dated by a wrong clock, not removed automatically: its date is in the future
keep a: last #1
delete `},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, text(c.set.Plan())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeld(t *testing.T) {
	days := []Point{day("a", "", 20), day("b", "", 21), day("c", "", 22), day("d", "", 23), day("e", "", 24), day("f", "", 25)}
	for _, c := range []struct {
		points, last int
		share        float64
		want         bool
	}{
		{6, 2, 0.5, true},
		{6, 3, 0.5, false}, // half is not more than half
		{5, 2, 0.5, true},
		{4, 1, 0.5, false}, // few points
		{4, 1, 0, false},
		{6, 1, 1, false},
		{6, 5, 0, true},
		{6, 6, 0, false}, // nothing is removed
	} {
		s := set(Policy{Last: c.last}, made(slices.Clone(days[:c.points])...)...)
		s.MaxRemoved = c.share
		if got := s.Plan().Held; got != c.want {
			t.Errorf("%d of %d points are removed, the share is %v: held %v", c.points-c.last, c.points, c.share, got)
		}
	}
}

// A history is what happened: points were made at true times, and a clock dated them.
type history struct {
	Set
	truth  []time.Time // by the place of the point, in the order in which they were made
	policy Policy
	wrong  map[string]bool // points that the clock dated wrong
}

// drawHistory draws points at true times and a time now after them. In which zone a day begins does not matter here, and zones
// that change their clocks have hours that come twice, which restic counts once.
func drawHistory(t *rapid.T) history {
	h := history{policy: drawPolicy(t, ""), wrong: map[string]bool{}}
	h.truth = drawTimes(t)
	slices.SortFunc(h.truth, time.Time.Compare)
	h.truth = slices.Compact(h.truth) // of one VM no two are made at once
	now := h.truth[len(h.truth)-1].Add(time.Duration(rapid.IntRange(0, 24*100).Draw(t, "age of the last")) * time.Hour)
	h.Set = Set{
		Policies: map[string]Policy{"gold": h.policy}, Now: now, MaxRemoved: rapid.Float64Range(0, 1).Draw(t, "share"),
		Zone: zone(nopTB{}, rapid.SampledFrom([]string{"UTC", "Asia/Kolkata"}).Draw(t, "zone")),
	}
	for i, x := range h.truth {
		p := Point{ID: fmt.Sprintf("p%02d", i), Sequence: uint64(i + 1), CreatedAt: x, Policy: "gold"}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "full") > 0 {
			p.Parent = fmt.Sprintf("p%02d", i-1-rapid.IntRange(0, min(i-1, 2)).Draw(t, "back"))
		}
		if rapid.IntRange(0, 9).Draw(t, "damaged") == 0 {
			p.Damaged = "rotten"
		}
		h.Points = append(h.Points, p)
	}
	return h
}

func (h *history) redate(i int, date time.Time) {
	h.Points[i].CreatedAt, h.wrong[h.Points[i].ID] = date, true
}

// ahead has the clock be ahead of now for any of the points.
func (h *history) ahead(t *rapid.T) {
	for i := range h.Points {
		if rapid.IntRange(0, 3).Draw(t, "ahead") == 0 {
			h.redate(i, h.Now.Add(record.ClockTolerance+time.Second+time.Duration(rapid.IntRange(0, 5*365*24).Draw(t, "hours"))*time.Hour))
		}
	}
}

// displace has the clock of one point be off so far that the right date of another contradicts it.
func (h *history) displace(t *rapid.T) {
	var right []int
	for i, p := range h.Points {
		if !h.wrong[p.ID] {
			right = append(right, i)
		}
	}
	if len(right) < 2 || rapid.IntRange(0, 2).Draw(t, "displace") == 0 {
		return
	}
	k := rapid.IntRange(0, len(right)-1).Draw(t, "which")
	const off = record.ClockTolerance + time.Second
	if back := rapid.Bool().Draw(t, "back"); back && k >= 1 {
		over := rapid.IntRange(0, k-1).Draw(t, "before")
		h.redate(right[k], h.truth[right[over]].Add(-off))
	} else if !back && k+1 < len(right) {
		over := rapid.IntRange(k+1, len(right)-1).Draw(t, "after")
		if date := h.truth[right[over]].Add(off); !record.Future(date, h.Now) {
			h.redate(right[k], date)
		}
	}
}

// removed lists what is not left.
func removed(h history, left []Point) (gone []string) {
	for _, p := range h.Points {
		if !slices.ContainsFunc(left, func(q Point) bool { return q.ID == p.ID }) {
			gone = append(gone, p.ID)
		}
	}
	return gone
}

// TestWrongClocksCostNothing: whatever the clock said when points were made, where its dates can be seen to be wrong no run
// removes a point that restic would have kept, had the clock been right. A clock that is behind when the run is made changes
// nothing about that.
func TestWrongClocksCostNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		keeps := resticKeeps(h)
		h.ahead(t)
		if rapid.Bool().Draw(t, "now is right") {
			h.displace(t)
		} else { // then many right dates lie in the future, too
			h.Now = h.Now.Add(-time.Duration(rapid.IntRange(0, 600*24).Draw(t, "behind")) * time.Hour)
		}
		plan := h.Plan()
		for _, d := range plan.Decisions {
			if h.wrong[d.Point.ID] && (d.Action != Keep || d.Misdated == "") {
				t.Fatalf("%s, which was made at %s and dated %s: %s, %v", d.Point.ID, h.truth[d.Point.Sequence-1], d.Point.CreatedAt, d.Action, d.Reasons)
			}
		}
		for _, id := range removed(h, follow(t, h.Set, plan)) {
			if keeps[id] || h.wrong[id] {
				t.Fatalf("%s is gone, and restic keeps it: %s", id, text(plan))
			}
		}
	})
}

// TestNoRunRemovesTheLastGoodPoint: whatever any clock says, also the one that says now, no run removes the good point that was
// made last, or one whose date it does not believe; and none that is not held removes more than the share.
func TestNoRunRemovesTheLastGoodPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		for i := range h.Points {
			if rapid.Bool().Draw(t, "wrong") {
				h.redate(i, h.truth[i].Add(time.Duration(rapid.IntRange(-50_000, 50_000).Draw(t, "off"))*time.Hour))
			}
		}
		h.Now = h.Now.Add(time.Duration(rapid.IntRange(-50_000, 50_000).Draw(t, "now is off")) * time.Hour)
		plan := h.Plan()
		left := follow(t, h.Set, plan)
		gone := removed(h, left)
		for _, p := range slices.Backward(h.Points) {
			if p.Damaged == "" {
				if slices.Contains(gone, p.ID) {
					t.Fatalf("%s is gone, the good point that was made last: %s", p.ID, text(plan))
				}
				break
			}
		}
		for _, d := range plan.Decisions {
			if (d.Misdated != "" || record.Future(d.Point.CreatedAt, h.Now)) && slices.Contains(gone, d.Point.ID) {
				t.Fatalf("%s is gone, and its date is not believed: %s", d.Point.ID, text(plan))
			}
		}
		if n := len(h.Points); !plan.Held && n > FewPoints && float64(len(gone)) > h.MaxRemoved*float64(n) {
			t.Fatalf("%d of %d are gone, the share is %v, and it was not held", len(gone), n, h.MaxRemoved)
		}
	})
}

// resticKeeps says what restic's forget keeps of the points as they truly were, from a reading of its documentation and of
// internal/restic/snapshot_policy.go, and what min_age and damage keep besides. It goes through the points from the newest to the
// oldest, with a counter for each rule. A point is kept by a rule with something left on its counter if its period is not that of
// the point kept last, or if it is the oldest of all; "within" keeps what is younger than a time before the newest.
func resticKeeps(h history) map[string]bool {
	type counter struct {
		left   int
		period func(time.Time, int) string
		last   string
	}
	format := func(layout string) func(time.Time, int) string {
		return func(x time.Time, _ int) string { return x.Format(layout) }
	}
	p := h.policy
	counters := []counter{
		{p.Last, func(_ time.Time, place int) string { return fmt.Sprint(place) }, ""},
		{p.Hourly, format("2006010215"), ""},
		{p.Daily, format("20060102"), ""},
		{p.Weekly, func(x time.Time, _ int) string { y, w := x.ISOWeek(); return fmt.Sprint(y, " ", w) }, ""},
		{p.Monthly, format("200601"), ""},
		{p.Yearly, format("2006"), ""},
	}
	var good []int // the newest first
	keeps := map[string]bool{}
	for i, x := range slices.Backward(h.Points) {
		if x.Damaged == "" {
			good = append(good, i)
		} else {
			keeps[x.ID] = true
		}
	}
	for place, i := range good {
		id, x := h.Points[i].ID, h.truth[i].In(h.Zone)
		for c := range counters {
			k := &counters[c]
			if k.left == 0 {
				continue
			}
			if period := k.period(x, place); period != k.last || place == len(good)-1 {
				keeps[id], k.last = true, period
				k.left = max(k.left-1, min(k.left, 0)) // all of them are -1, and stay so
			}
		}
		if p.Within > 0 && x.After(h.truth[good[0]].Add(-p.Within)) || h.Now.Sub(x) < p.MinAge {
			keeps[id] = true
		}
	}
	return keeps
}

// TestResticKeeps: the model keeps what restic's own documentation says it does.
func TestResticKeeps(t *testing.T) {
	h := history{Set: Set{Zone: time.UTC, Now: at("2026-11-30T00:00:00Z")}, policy: Policy{Daily: 2, Yearly: 2}}
	for i, text := range []string{"2026-11-20T01:00:00Z", "2026-11-20T22:00:00Z", "2026-11-21T01:00:00Z", "2026-11-21T22:00:00Z"} {
		h.truth = append(h.truth, at(text))
		h.Points = append(h.Points, Point{ID: fmt.Sprint(i), CreatedAt: at(text)})
	}
	var list []string
	for id := range resticKeeps(h) {
		list = append(list, id)
	}
	slices.Sort(list)
	if got := strings.Join(list, " "); got != "0 1 3" { // the last of two days, and the oldest for the second year
		t.Errorf("kept: %s", got)
	}
}
