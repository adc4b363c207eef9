package retention

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// misdated finds the points whose dates cannot be right, and says why. A removal cannot be undone, so such a point is kept, and
// takes the place of no other. A date is not believed
//
//   - when it is in the future, or
//   - when it contradicts the order in which the points were made. Of two dates that contradict each other one is wrong: the
//     one that disagrees with most. The longest run of points whose dates do not decrease is believed. If there are several,
//     a date is believed that contradicts no date of any of them.
func (s Set) misdated() map[string]string {
	why := map[string]string{}
	points := slices.DeleteFunc(slices.Clone(s.Points), func(x Point) bool {
		future := record.Future(x.CreatedAt, s.Now)
		if future {
			why[x.ID] = "its date is in the future"
		}
		return future
	})
	slices.SortFunc(points, oldestMadeFirst)
	inRun := inLongestRun(points)
	latest := -1 // index of the point with the latest date, of those in a run that were made earlier
	for i, x := range points {
		if latest >= 0 && x.CreatedAt.Before(points[latest].CreatedAt.Add(-record.ClockTolerance)) {
			why[x.ID] = "its date is before that of " + points[latest].ID + ", which was made earlier"
		}
		if inRun[i] && (latest < 0 || x.CreatedAt.After(points[latest].CreatedAt)) {
			latest = i
		}
	}
	earliest := -1 // index of the point with the earliest date, of those in a run that were made later
	for i, x := range slices.Backward(points) {
		if earliest >= 0 && x.CreatedAt.After(points[earliest].CreatedAt.Add(record.ClockTolerance)) {
			why[x.ID] = "its date is after that of " + points[earliest].ID + ", which was made later"
		}
		if inRun[i] && (earliest < 0 || x.CreatedAt.Before(points[earliest].CreatedAt)) {
			earliest = i
		}
	}
	return why
}

// inLongestRun says of each point whether it is in a longest run of points, not necessarily adjacent, whose dates do not
// decrease: the run that ends with it and the run that begins with it together are as long as the longest.
func inLongestRun(points []Point) []bool {
	dates := make([]int64, len(points))
	for i, x := range points {
		dates[i] = x.CreatedAt.UnixNano()
	}
	ending := runLengths(dates)
	slices.Reverse(dates)
	for i := range dates {
		dates[i] = -dates[i]
	}
	beginning := runLengths(dates)
	slices.Reverse(beginning)
	in, longest := make([]bool, len(points)), slices.Max(append(ending, 0))
	for i := range points {
		in[i] = ending[i]+beginning[i]-1 == longest
	}
	return in
}

// runLengths is, for each number, the length of the longest run that ends with it and does not decrease. ends[n] is the
// smallest number with which a run of length n+1 ends.
func runLengths(numbers []int64) []int {
	var ends []int64
	lengths := make([]int, len(numbers))
	for i, x := range numbers {
		n, _ := slices.BinarySearch(ends, x+1) // the first that is greater
		if n == len(ends) {
			ends = append(ends, x)
		} else {
			ends[n] = x
		}
		lengths[i] = n + 1
	}
	return lengths
}

// oldestMadeFirst orders points as they were made. If two sequences are equal, the dates and ids decide, so that the order is
// always the same.
func oldestMadeFirst(a, b Point) int {
	return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
}

func newestMadeFirst(a, b Point) int { return oldestMadeFirst(b, a) }
