package record

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSequences: without a sequence the best evidence orders restore points.
func TestSequences(t *testing.T) {
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	day := func(id, parent string, month time.Month, n int) Made {
		return Made{ID: id, Parent: parent, CreatedAt: time.Date(2026, month, n, 22, 0, 0, 0, time.UTC)}
	}
	ahead := func(m Made) Made { m.CreatedAt = m.CreatedAt.AddDate(5, 0, 0); return m }
	behind := func(m Made) Made { m.CreatedAt = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC); return m }
	given := func(m Made, n uint64) Made { m.Sequence = n; return m }
	for _, c := range []struct {
		name   string
		points []Made
		want   string
	}{
		{"dates", []Made{day("a", "", 11, 1), day("c", "", 11, 3), day("b", "", 11, 2)}, "a b c"},
		{"one of the future with children", []Made{
			day("a", "", 11, 1), ahead(day("f", "a", 11, 2)), day("b", "f", 11, 3), day("c", "f", 11, 4), day("g", "", 11, 5),
		}, "a f b c g"},
		{"two of the future, one upon the other", []Made{ahead(day("f", "", 11, 2)), ahead(day("g", "f", 11, 3)), day("a", "g", 11, 4), day("b", "", 11, 1)}, "b f g a"},
		{"one of the future without children", []Made{day("a", "", 11, 1), ahead(day("f", "", 11, 2)), day("b", "", 11, 3)}, "a b f"},
		{"one whose clock was behind", []Made{day("a", "", 11, 1), day("b", "", 11, 2), behind(day("c", "b", 11, 3)), day("d", "b", 11, 4)}, "a b c d"},
		{"a sequence counts before every date", []Made{ahead(day("f", "", 11, 1)), given(day("b", "", 1, 1), FirstSequence+1), given(day("a", "", 11, 3), FirstSequence)}, "f a b"},
		{"equal ones by their ids", []Made{given(day("b", "", 1, 1), FirstSequence), given(day("a", "", 11, 3), FirstSequence)}, "a b"},
		{"a child after its parent, whatever both were given", []Made{given(day("b", "a", 1, 1), FirstSequence), given(day("a", "", 11, 3), FirstSequence+7)}, "a b"},
		{"in a circle", []Made{day("a", "b", 11, 1), day("b", "a", 11, 2)}, "b a"},
		{"before 1970", []Made{{ID: "a"}, day("b", "", 11, 1)}, "a b"},
	} {
		got := Sequences(c.points, now)
		ids := make([]string, 0, len(c.points))
		for _, p := range c.points {
			ids = append(ids, p.ID)
		}
		slices.SortFunc(ids, func(x, y string) int { return cmp.Or(cmp.Compare(got[x], got[y]), strings.Compare(x, y)) })
		if text := strings.Join(ids, " "); text != c.want && c.name != "in a circle" || got["a"] == 0 && got["f"] == 0 {
			t.Errorf("%s: %s, want %s: %v", c.name, text, c.want, got)
		}
	}
}

// TestSequencesKeepChains: whatever the dates, the order does not depend on that in which the points are found, no child is
// before its parent, and what was given in the order of its chain stays.
func TestSequencesKeepChains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(2_000_000_000, 0)
		points := make([]Made, rapid.IntRange(1, 30).Draw(t, "points"))
		counted := rapid.IntRange(0, len(points)).Draw(t, "without a sequence")
		for i := range points {
			points[i] = Made{ID: fmt.Sprintf("p%02d", i), CreatedAt: time.Unix(rapid.Int64Range(0, 5_000_000_000).Draw(t, "date"), 0)}
			if i > 0 && rapid.Bool().Draw(t, "incremental") {
				points[i].Parent = points[rapid.IntRange(0, i-1).Draw(t, "parent")].ID
			}
			if i >= counted {
				points[i].Sequence = FirstSequence + 1000 + uint64(i)
			}
		}
		got := Sequences(points, now)
		for i, p := range points {
			if p.Parent != "" && got[p.ID] <= got[p.Parent] {
				t.Fatalf("%s has %d, its parent %s %d", p.ID, got[p.ID], p.Parent, got[p.Parent])
			}
			if p.Sequence != 0 && got[p.ID] != p.Sequence {
				t.Fatalf("%s was given %d, and has %d", p.ID, p.Sequence, got[p.ID])
			}
			if i < counted && got[p.ID] > FirstSequence+100 {
				t.Fatalf("%s has %d, as if it had been given", p.ID, got[p.ID])
			}
		}
		again := Sequences(rapid.Permutation(points).Draw(t, "in another order"), now)
		for id, n := range got {
			if again[id] != n {
				t.Fatalf("%s has %d, and %d when the points are found in another order", id, n, again[id])
			}
		}
	})
}

func TestVerifiedAt(t *testing.T) {
	end := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	earlier := end.AddDate(-5, 0, 0)
	b := Backup{EndedAt: end}
	if !b.VerifiedAt(false).Equal(end) || !b.VerifiedAt(true).Equal(end) {
		t.Error("the end of a backup does not count")
	}
	b.Verified = &Verification{At: earlier}
	if !b.VerifiedAt(false).Equal(earlier) || !b.VerifiedAt(true).Equal(end) {
		t.Errorf("%s, %s", b.VerifiedAt(false), b.VerifiedAt(true))
	}
	if now := earlier.Add(time.Hour); !Believed(b.VerifiedAt(true), now).IsZero() || Believed(earlier.Add(time.Hour+time.Minute), now).IsZero() {
		t.Error("what is believed")
	}
}
