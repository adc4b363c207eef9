package record

import (
	"cmp"
	"time"
)

// FirstSequence is the sequence of the first record of a database that gives sequences. Restore points that were made before
// sequences existed have lower ones, which are seconds since 1970. Such a point comes before all others, and can be inserted
// among its kind at any time, in any order.
const FirstSequence = 1 << 32

// MaxSequence is the largest integer that a JSON number holds exactly for every reader.
const MaxSequence = 1<<53 - 1

// ClockTolerance is how far a date may be off and still be believed: clocks are set by seconds all the time.
const ClockTolerance = 5 * time.Minute

// Future says whether a date is so far after now that the clock of the date, or the present clock, is wrong.
func Future(date, now time.Time) bool { return date.After(now.Add(ClockTolerance)) }

// Believed is a date, or zero if it is in the future.
func Believed(date, now time.Time) time.Time {
	if Future(date, now) {
		return time.Time{}
	}
	return date
}

// Made is what tells when a restore point was made, relative to others of its VM in its repository.
type Made struct {
	ID, Parent string
	Sequence   uint64 // 0 = none
	CreatedAt  time.Time
}

// Sequences computes the sequence of every point, by id, for a database that does not know them. A point keeps the sequence
// that it has. For a point without one the best evidence decides. A restore point was made after its parent, whatever the dates
// are. A date in the future is no evidence: such a point was made right before its children. Otherwise the date decides. A
// point in the future without children comes after all others that have no sequence.
func Sequences(points []Made, now time.Time) map[string]uint64 {
	o := &order{points: map[string]Made{}, children: map[string][]string{}, now: now, dates: map[string]int64{}, given: map[string]uint64{}}
	for _, p := range points {
		o.points[p.ID] = p
		o.children[p.Parent] = append(o.children[p.Parent], p.ID)
	}
	for _, p := range points {
		o.sequence(p)
	}
	return o.given
}

type order struct {
	points   map[string]Made
	children map[string][]string
	now      time.Time
	dates    map[string]int64
	given    map[string]uint64
}

// date is the second at which a point without a sequence was made, as its date and its children tell.
func (o *order) date(p Made) int64 {
	if known, ok := o.dates[p.ID]; ok {
		return known
	}
	own := min(max(p.CreatedAt.Unix(), 1), FirstSequence-1)
	o.dates[p.ID] = own // in case its children form a ring
	if !Future(p.CreatedAt, o.now) {
		return own
	}
	for _, id := range o.children[p.ID] {
		if child := o.points[id]; child.Sequence == 0 {
			own = min(own, max(o.date(child)-1, 1))
		}
	}
	o.dates[p.ID] = own
	return own
}

// sequence is the sequence of a point: higher than that of its parent.
func (o *order) sequence(p Made) uint64 {
	if known, ok := o.given[p.ID]; ok {
		return known
	}
	own := cmp.Or(p.Sequence, uint64(o.date(p)))
	o.given[p.ID] = own // in case its parents form a ring
	if parent, ok := o.points[p.Parent]; ok {
		own = max(own, o.sequence(parent)+1)
	}
	o.given[p.ID] = own
	return own
}
