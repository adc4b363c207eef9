package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func zone(t testing.TB, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// kept lists what a policy keeps of points that are named by their times.
func kept(p Policy, now time.Time, z *time.Location, times ...string) string {
	points := make([]Point, len(times))
	for i, text := range times {
		points[i] = Point{ID: text, CreatedAt: at(text)}
	}
	var list []string
	for id, reasons := range p.keep(points, now, z) {
		list = append(list, id+": "+strings.Join(reasons, ", "))
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

func TestRules(t *testing.T) {
	days := []string{
		"2026-11-18T22:00:00Z", "2026-11-19T22:00:00Z", "2026-11-20T01:00:00Z", "2026-11-20T22:00:00Z", "2026-11-21T22:00:00Z",
		"2026-11-22T22:00:00Z", "2026-11-23T22:00:00Z",
	}
	for _, c := range []struct {
		name   string
		policy Policy
		zone   string
		times  []string
		want   string
	}{
		{"the last", Policy{Last: 2}, "UTC", days, "2026-11-22T22:00:00Z: last #2; 2026-11-23T22:00:00Z: last #1"},
		{"the last of a day", Policy{Daily: 4}, "UTC", days, "2026-11-20T22:00:00Z: daily 2026-11-20; 2026-11-21T22:00:00Z: daily 2026-11-21; " +
			"2026-11-22T22:00:00Z: daily 2026-11-22; 2026-11-23T22:00:00Z: daily 2026-11-23"},
		{"days elsewhere", Policy{Daily: 2}, "Asia/Tokyo", days, "2026-11-22T22:00:00Z: daily 2026-11-23; 2026-11-23T22:00:00Z: daily 2026-11-24"},
		{"ISO weeks", Policy{Weekly: 2}, "UTC", days, "2026-11-22T22:00:00Z: weekly 2026-W47; 2026-11-23T22:00:00Z: weekly 2026-W48"},
		{
			"fewer periods than asked for keep the oldest",
			Policy{Monthly: 3},
			"UTC", days,
			"2026-11-18T22:00:00Z: oldest, for monthly; 2026-11-23T22:00:00Z: monthly 2026-11",
		},
		{
			"all",
			Policy{Yearly: Unlimited},
			"UTC",
			[]string{"2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2025-06-01T00:00:00Z"},
			"2024-01-01T00:00:00Z: yearly 2024; 2025-06-01T00:00:00Z: yearly 2025",
		},
		{
			"within counts from the newest",
			Policy{Within: 48 * time.Hour},
			"UTC", days,
			"2026-11-21T22:00:00Z: within 2d of the newest; 2026-11-22T22:00:00Z: within 2d of the newest; 2026-11-23T22:00:00Z: within 2d of the newest",
		},
		{
			"an hour that comes twice is two",
			Policy{Hourly: 5},
			"Europe/Berlin",
			[]string{"2026-10-24T20:00:00Z", "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"},
			"2026-10-24T20:00:00Z: hourly 2026-10-24 22h +0200; 2026-10-25T00:30:00Z: hourly 2026-10-25 02h +0200; " +
				"2026-10-25T01:30:00Z: hourly 2026-10-25 02h +0100; 2026-10-25T02:30:00Z: hourly 2026-10-25 03h +0100",
		},
		{
			"the age that locks",
			Policy{Last: 1, MinAge: 60 * time.Hour},
			"UTC", days,
			"2026-11-21T22:00:00Z: younger than 60h; 2026-11-22T22:00:00Z: younger than 60h; 2026-11-23T22:00:00Z: last #1, younger than 60h",
		},
		{
			"a clock that was set back",
			Policy{Last: 1, MinAge: time.Hour},
			"UTC",
			[]string{"2026-11-23T23:00:00Z", "2031-01-01T00:00:00Z"},
			"2031-01-01T00:00:00Z: last #1, younger than 1h",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := kept(c.policy, at("2026-11-24T00:00:00Z"), zone(t, c.zone), c.times...); got != c.want {
				t.Errorf("kept:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		720 * time.Hour: "30d", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m", 45 * time.Second: "45s", 20 * time.Minute: "20m",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

var (
	zones = []string{"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"}
	epoch = at("2026-03-20T00:00:00Z") // changes of the clock lie within what is generated
)

func drawPolicy(t *rapid.T, label string) Policy {
	count := func(name string) int { return rapid.IntRange(-1, 4).Draw(t, label+name) }
	p := Policy{
		Last: count("last"), Hourly: count("hourly"), Daily: count("daily"), Weekly: count("weekly"), Monthly: count("monthly"),
		Yearly: count("yearly"), Within: time.Duration(rapid.IntRange(0, 100).Draw(t, label+"within")) * time.Hour,
		MinAge: time.Duration(rapid.IntRange(0, 200).Draw(t, label+"min age")) * time.Hour,
		Merge:  rapid.Bool().Draw(t, label+"merge"), MaxChain: rapid.SampledFrom([]int{0, 2, 3, 5}).Draw(t, label+"max chain"),
	}
	if p.KeepsNothing() {
		p.Last = 1 // no other is accepted
	}
	return p
}

func drawTimes(t *rapid.T) []time.Time {
	minutes := rapid.SliceOfN(rapid.IntRange(0, 60*24*400), 1, 40).Draw(t, "minutes")
	times := make([]time.Time, len(minutes))
	for i, m := range minutes {
		times[i] = epoch.Add(time.Duration(m) * time.Minute)
	}
	return times
}

// TestKeepIsRestics: what is kept is what a second, plainer reading of restic's rules keeps.
func TestKeepIsRestics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, z := drawPolicy(t, ""), zone(nopTB{}, rapid.SampledFrom(zones).Draw(t, "zone"))
		var points []Point
		for i, x := range drawTimes(t) {
			points = append(points, Point{ID: fmt.Sprintf("p%02d", i), CreatedAt: x})
		}
		now := epoch.Add(401 * 24 * time.Hour)
		got := p.keep(points, now, z)
		for _, x := range points {
			if want := plainlyKept(p, points, x, now, z); want != (len(got[x.ID]) > 0) {
				t.Fatalf("%s of %s: kept for %v, want kept %v", x.ID, x.CreatedAt.In(z), got[x.ID], want)
			}
		}
	})
}

// plainlyKept counts, for each rule, the periods that are newer than a point's.
func plainlyKept(p Policy, points []Point, x Point, now time.Time, z *time.Location) bool {
	newer := func(a, b Point) bool {
		return a.CreatedAt.After(b.CreatedAt) || a.CreatedAt.Equal(b.CreatedAt) && a.ID > b.ID
	}
	oldest, newest := points[0], points[0]
	for _, y := range points {
		if newer(oldest, y) {
			oldest = y
		}
		if newer(y, newest) {
			newest = y
		}
	}
	rule := func(count int, period func(time.Time) string) bool {
		own, later, lastOfOwn := period(x.CreatedAt.In(z)), map[string]bool{}, true
		for _, y := range points {
			if !newer(y, x) {
				continue
			}
			if name := period(y.CreatedAt.In(z)); name == own {
				lastOfOwn = false
			} else {
				later[name] = true
			}
		}
		found := len(later)
		if !lastOfOwn {
			found++
		}
		return count != 0 && (count < 0 || found < count) && (lastOfOwn || x.ID == oldest.ID)
	}
	return rule(p.Last, func(u time.Time) string { return "" }) && p.Last != 0 && x.ID == newest.ID ||
		p.Last < 0 || lastN(points, x, p.Last, newer) ||
		rule(p.Hourly, func(u time.Time) string { return u.Format(time.DateOnly + " 15 Z07:00") }) ||
		rule(p.Daily, func(u time.Time) string { return u.Format(time.DateOnly) }) ||
		rule(p.Weekly, func(u time.Time) string { y, w := u.ISOWeek(); return fmt.Sprint(y, w) }) ||
		rule(p.Monthly, func(u time.Time) string { return u.Format("2006-01") }) ||
		rule(p.Yearly, func(u time.Time) string { return u.Format("2006") }) ||
		p.Within > 0 && newest.CreatedAt.Sub(x.CreatedAt) <= p.Within ||
		now.Sub(x.CreatedAt) < p.MinAge
}

func lastN(points []Point, x Point, n int, newer func(a, b Point) bool) bool {
	above := 0
	for _, y := range points {
		if newer(y, x) {
			above++
		}
	}
	return above < n
}

// nopTB lets zone be used with rapid's own T.
type nopTB struct{ testing.TB }

func (nopTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
