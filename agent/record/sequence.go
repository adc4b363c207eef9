package record

import (
	"cmp"
	"time"
)

// FirstSequence is what the first record of a database has that gives sequences. Below it are those of restore points that were
// made before, which are seconds since 1970: such a point comes before every one that was given a sequence, and can take its
// place among others of its kind at any time, in whatever order they are found.
const FirstSequence = 1 << 32

// MaxSequence is the largest that a number in JSON holds exactly, for whatever reads it.
const MaxSequence = 1<<53 - 1

// ClockTolerance is how far a date may be off before it is not believed: clocks are set by seconds all the time.
const ClockTolerance = 5 * time.Minute

// Future says whether a date lies so far after now that the clock which gave it, or the one that gives now, is wrong.
func Future(date, now time.Time) bool { return date.After(now.Add(ClockTolerance)) }

// Believed is a date, or zero if it lies in the future.
func Believed(date, now time.Time) time.Time {
	if Future(date, now) {
		return time.Time{}
	}
	return date
}

// Made is what tells when a restore point was made, beside others of its VM in its repository.
type Made struct {
	ID, Parent string
	Sequence   uint64 // 0 = it was given none
	CreatedAt  time.Time
}

// Sequences returns the sequence of every point, by id, for a database that does not know them. A point keeps the one that it was
// given. For one that was given none the best evidence decides: a restore point was made after the one that it stands on,
// whatever their dates are; a date in the future is none, and such a point was made right before what stands on it; and
// otherwise the date tells. A point in the future that nothing stands on comes after all others that were given none.
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

// date is the second at which a point without a sequence was made, as far as its date and those of what stands on it tell.
func (o *order) date(p Made) int64 {
	if known, ok := o.dates[p.ID]; ok {
		return known
	}
	own := min(max(p.CreatedAt.Unix(), 1), FirstSequence-1)
	o.dates[p.ID] = own // should its children lead back here
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

// sequence is that of a point, after that of its parent.
func (o *order) sequence(p Made) uint64 {
	if known, ok := o.given[p.ID]; ok {
		return known
	}
	own := cmp.Or(p.Sequence, uint64(o.date(p)))
	o.given[p.ID] = own // should its parents lead back here
	if parent, ok := o.points[p.Parent]; ok {
		own = max(own, o.sequence(parent)+1)
	}
	o.given[p.ID] = own
	return own
}
