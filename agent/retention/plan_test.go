package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// day is a point of a day of November.
func day(id, parent string, n int) Point {
	return Point{ID: id, Parent: parent, CreatedAt: time.Date(2026, 11, n, 22, 0, 0, 0, time.UTC), Policy: "gold"}
}

func set(p Policy, points ...Point) Set {
	return Set{Points: points, Policies: map[string]Policy{"gold": p}, Now: at("2026-11-30T00:00:00Z"), Zone: time.UTC}
}

// text is a plan on a few lines.
func text(p Plan) string {
	var lines []string
	for _, d := range p.Decisions {
		lines = append(lines, fmt.Sprintf("%s %s: %s", d.Action, d.Point.ID, strings.Join(d.Reasons, ", ")))
	}
	for _, r := range p.Merges {
		lines = append(lines, fmt.Sprintf("merge %s onto %q", r.ID, r.NewParent))
	}
	return strings.Join(append(lines, "delete "+strings.Join(p.Deletions, " ")), "\n")
}

func TestPlan(t *testing.T) {
	chain := []Point{day("f", "", 20), day("i1", "f", 21), day("i2", "i1", 22), day("i3", "i2", 23)}
	two := []Point{day("f", "", 20), day("i1", "f", 21), day("g", "", 22), day("j1", "g", 23)}
	damaged := slices.Clone(chain)
	damaged[3].Damaged = "disk 0 has rotted"
	broken := slices.Clone(chain)
	broken[2].Damaged = "disk 0 has rotted"
	rotten := []Point{day("f", "", 20), day("i1", "f", 21)}
	rotten[1].Damaged = "disk 0 has rotted"
	held := set(Policy{Last: 1}, chain...)
	held.Held = map[string]string{"i1": "restore r reads it"}
	mixed := slices.Clone(chain)
	mixed[2].Policy, mixed[1].Policy = "", "silver"
	for _, c := range []struct {
		name string
		set  Set
		want string
	}{
		{"a chain stays whole", set(Policy{Last: 1}, chain...), `keep i3: last #1
wait i2: expired, stays until those based on it are removed: i3
wait i1: expired, stays until those based on it are removed: i2
wait f: expired, stays until those based on it are removed: i1
delete `},
		{"a chain is merged", set(Policy{Last: 1, Merge: true}, chain...), `keep i3: last #1
merge i2: expired
merge i1: expired
merge f: expired
merge i3 onto ""
delete i2 i1 f`},
		{"a middle is merged", set(Policy{Last: 2, Monthly: 2, Merge: true}, chain...), `keep i3: last #1, monthly 2026-11
keep i2: last #2
merge i1: expired
keep f: oldest, for monthly
merge i2 onto "f"
delete i1`},
		{"an old chain is removed whole", set(Policy{Last: 2}, two...), `keep j1: last #1
keep g: last #2
delete i1: expired
delete f: expired
delete i1 f`},
		{"a chain is too long", set(Policy{Last: 2, MaxChain: 3}, chain...), `keep i3: last #1, becomes a full backup, because its chain is longer than max_chain, 3
keep i2: last #2
wait i1: expired, stays until those based on it are removed: i2
wait f: expired, stays until those based on it are removed: i1
merge i3 onto ""
delete `},
		{"a chain is too long and expired", set(Policy{Last: 1, MaxChain: 3}, chain...), `keep i3: last #1, becomes a full backup, because its chain is longer than max_chain, 3
merge i2: expired
merge i1: expired
merge f: expired
merge i3 onto ""
delete i2 i1 f`},
		{"a chain may be as long", set(Policy{Last: 4, MaxChain: 4}, chain...), `keep i3: last #1
keep i2: last #2
keep i1: last #3
keep f: last #4
delete `},
		{"a chain is short when it is merged", set(Policy{Last: 2, Merge: true, MaxChain: 2}, chain...), `keep i3: last #1
keep i2: last #2
merge i1: expired
merge f: expired
merge i2 onto ""
delete i1 f`},
		{"a damaged one counts for nothing", set(Policy{Last: 1, Merge: true}, damaged...), `keep i3: damaged, not removed automatically: disk 0 has rotted
keep i2: last #1
merge i1: expired
merge f: expired
merge i2 onto ""
delete i1 f`},
		{"a damaged one is not merged", set(Policy{Last: 1, Merge: true}, broken...), `keep i3: last #1
keep i2: damaged, not removed automatically: disk 0 has rotted
wait i1: expired, a damaged one is based on it: i2
merge f: expired
merge i1 onto ""
delete f`},
		{"what is read stays", held, `keep i3: last #1
wait i2: expired, stays until those based on it are removed: i3
wait i1: expired, restore r reads it
wait f: expired, stays until those based on it are removed: i1
delete `},
		{"the newest good one stays", set(Policy{}, rotten...), `keep i1: damaged, not removed automatically: disk 0 has rotted
keep f: newest good one
delete `},
		{"what no policy rules stays", set(Policy{Last: 1}, mixed...), `keep i3: last #1
keep i2: no policy
keep i1: policy silver is not configured
wait f: expired, stays until those based on it are removed: i1
delete `},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, text(c.set.Plan())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// drawSet makes the points of one VM: fulls, and incrementals based on any earlier one.
func drawSet(t *rapid.T) Set {
	s := Set{
		Policies: map[string]Policy{"a": drawPolicy(t, "a "), "b": drawPolicy(t, "b ")}, Held: map[string]string{},
		Zone: zone(nopTB{}, rapid.SampledFrom(zones).Draw(t, "zone")), Now: epoch.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "now")) * 24 * time.Hour),
	}
	for i, x := range drawTimes(t) {
		p := Point{ID: fmt.Sprintf("p%02d", i), CreatedAt: x, Policy: rapid.SampledFrom([]string{"a", "a", "b", "", "gone"}).Draw(t, "policy")}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "full") > 0 {
			p.Parent = fmt.Sprintf("p%02d", i-1-rapid.IntRange(0, min(i-1, 2)).Draw(t, "back"))
		}
		if rapid.IntRange(0, 9).Draw(t, "damaged") == 0 {
			p.Damaged = "rotten"
		}
		s.Points = append(s.Points, p)
	}
	if rapid.Bool().Draw(t, "read") { // as a restore reads: a point and its chain
		byID := map[string]Point{}
		for _, p := range s.Points {
			byID[p.ID] = p
		}
		for p := rapid.SampledFrom(s.Points).Draw(t, "reads"); p.ID != ""; p = byID[p.Parent] {
			s.Held[p.ID] = "it is read"
		}
	}
	return s
}

// follow does what a plan says, step by step, and fails where a step is not allowed.
func follow(t *rapid.T, s Set, plan Plan) (left []Point) {
	points := map[string]Point{}
	for _, p := range s.Points {
		points[p.ID] = p
	}
	for _, r := range plan.Merges {
		p := points[r.ID]
		if p.Damaged != "" || s.Held[p.ID] != "" {
			t.Fatalf("%s is merged, and is damaged or read", p.ID)
		}
		ancestor := points[p.Parent]
		for ancestor.ID != r.NewParent {
			if ancestor = points[ancestor.Parent]; ancestor.ID == "" && r.NewParent != "" {
				t.Fatalf("%s gets the parent %s, which is not in its chain", p.ID, r.NewParent)
			}
		}
		p.Parent = r.NewParent
		points[p.ID] = p
	}
	for _, id := range plan.Deletions {
		for _, p := range points {
			if p.Parent == id {
				t.Fatalf("%s is deleted, and %s is based on it", id, p.ID)
			}
		}
		delete(points, id)
	}
	for _, p := range points {
		left = append(left, p)
	}
	return left
}

// TestPlanIsSafe: whatever the points and policies, every step is allowed when it comes, no kept point is removed,
// and every point left has its whole chain.
func TestPlanIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSet(t)
		plan := s.Plan()
		left := follow(t, s, plan)
		there := func(id string) bool { return slices.ContainsFunc(left, func(p Point) bool { return p.ID == id }) }
		newestGood := ""
		for _, d := range plan.Decisions {
			p := d.Point
			policy, known := s.Policies[p.Policy]
			stays := !known || p.Damaged != "" || s.Held[p.ID] != "" || s.Now.Sub(p.CreatedAt) < policy.MinAge
			if newestGood == "" && p.Damaged == "" {
				newestGood, stays = p.ID, true
			}
			if stays && !there(p.ID) {
				t.Fatalf("%s is gone: %s for %v", p.ID, d.Action, d.Reasons)
			}
			if gone := d.Action == Delete || d.Action == Merge; gone == there(p.ID) {
				t.Fatalf("%s is there: %v, decided: %s", p.ID, there(p.ID), d.Action)
			}
			if len(d.Reasons) == 0 {
				t.Fatalf("%s: no reason to %s", p.ID, d.Action)
			}
		}
		for _, p := range left {
			if p.Parent != "" && !there(p.Parent) {
				t.Fatalf("%s is based on %s, which is gone", p.ID, p.Parent)
			}
		}
		for _, d := range plan.Decisions {
			at := slices.IndexFunc(left, func(p Point) bool { return p.ID == d.Point.ID })
			if d.Synthetic && (d.Point.ID != newestGood || left[at].Parent != "") {
				t.Fatalf("%s should be a full backup, and has the parent %s", d.Point.ID, left[at].Parent)
			}
		}
		s.Points = left
		if again := s.Plan(); len(s.Held) == 0 && len(again.Deletions)+len(again.Merges) > 0 {
			t.Fatalf("there is more to do: %s", text(again))
		}
	})
}
