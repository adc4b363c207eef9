package retention

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
)

// misdated finds the points whose dates cannot be right, and says why. What is removed cannot be brought back, so such a point
// is kept, and takes the place of no other. A date is not believed
//
//   - when it lies in the future, or
//   - when it contradicts the order in which the points were made. Of two dates that contradict each other one is wrong, and
//     nothing says which: as many dates are believed as agree with one another. Several sets may be equally large: then the
//     later dates of the older points are not believed.
func (s Set) misdated() map[string]string {
	points := slices.DeleteFunc(slices.Clone(s.Points), func(x Point) bool { return backup.Future(x.CreatedAt, s.Now) })
	slices.SortFunc(points, oldestMadeFirst)
	why := map[string]string{}
	believed := longestInOrder(points)
	next := 0 // in believed: the first that was made at or after the point
	for i, x := range points {
		for next < len(believed) && believed[next] < i {
			next++
		}
		early := next > 0 && x.CreatedAt.Before(points[believed[next-1]].CreatedAt.Add(-backup.ClockTolerance))
		late := next < len(believed) && x.CreatedAt.After(points[believed[next]].CreatedAt.Add(backup.ClockTolerance))
		switch {
		case early:
			why[x.ID] = "its date is before that of " + points[believed[next-1]].ID + ", which was made earlier"
		case late:
			why[x.ID] = "its date is after that of " + points[believed[next]].ID + ", which was made later"
		}
	}
	for _, x := range s.Points {
		if backup.Future(x.CreatedAt, s.Now) {
			why[x.ID] = "its date is in the future"
		}
	}
	return why
}

// longestInOrder returns the places of the longest run of points, not necessarily side by side, whose dates do not decrease.
// ends[n] is where the run of n+1 points ends whose last date is the earliest.
func longestInOrder(points []Point) []int {
	var ends []int
	before := make([]int, len(points))
	for i, x := range points {
		n, _ := slices.BinarySearchFunc(ends, x.CreatedAt, func(end int, date time.Time) int {
			if points[end].CreatedAt.After(date) {
				return 1
			}
			return -1 // also where they are equal: the run goes on behind it
		})
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	if len(ends) == 0 {
		return nil
	}
	run := make([]int, 0, len(ends))
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		run = append(run, i)
	}
	slices.Reverse(run)
	return run
}

// oldestMadeFirst orders points as they were made. Where the sequence does not tell two apart, their dates and ids do, so that
// the order is always the same.
func oldestMadeFirst(a, b Point) int {
	return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
}

func newestMadeFirst(a, b Point) int { return oldestMadeFirst(b, a) }
