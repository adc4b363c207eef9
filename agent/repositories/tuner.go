package repositories

import "time"

// A tuner finds out how many images of a repository to read at once: as many as make the reads together faster, and no more than that, so
// that running copies keep their rate. It tries one more while the rate grows, then one less while the rate stays. It only computes.
type tuner struct {
	limit  int       // reads at once
	step   int       // the change that is tried: 1, -1, or 0 for none
	next   int       // the change to try next
	before float64   // bytes a second without the change
	rested time.Time // nothing is tried before

	began time.Time // of the measurement; zero if there is none
	bytes int64     // read since
}

const (
	firstReads = 4
	mostReads  = 16 // each needs 8 MiB of memory

	tunerWindow = 3 * time.Second // a measurement
	tunerRest   = time.Minute     // after both directions were tried

	tunerGain = 1.1  // one more read is worth it from here on
	tunerKeep = 0.95 // one less costs nothing down to here
)

func newTuner() *tuner { return &tuner{limit: firstReads, next: 1} }

// read notes bytes that were read, without holes. full says that exactly limit reads are in progress, and that more wait: otherwise the rate
// does not tell what the storage can do.
func (t *tuner) read(bytes int64, full bool, now time.Time) {
	if !full {
		t.began = time.Time{}
		return
	}
	if t.began.IsZero() {
		t.began, t.bytes = now, 0
		return
	}
	t.bytes += bytes
	if took := now.Sub(t.began); took >= tunerWindow {
		t.judge(float64(t.bytes)/took.Seconds(), now)
		t.began, t.bytes = now, 0
	}
}

// judge decides what to do after a measurement, in bytes a second.
func (t *tuner) judge(rate float64, now time.Time) {
	switch {
	case t.step > 0 && rate >= t.before*tunerGain:
		t.before = rate
		t.move(1, now)
	case t.step < 0 && rate >= t.before*tunerKeep: // of the rate before the first of these steps, so that small losses do not add up
		t.move(-1, now)
	case t.step != 0: // not worth it
		t.limit -= t.step
		t.turn(now)
	case !now.Before(t.rested):
		t.before = rate
		t.move(t.next, now)
	}
}

// move changes the limit by a step, as far as it may.
func (t *tuner) move(step int, now time.Time) {
	if t.limit+step < 1 || t.limit+step > mostReads {
		t.turn(now)
		return
	}
	t.limit, t.step = t.limit+step, step
}

// turn goes into the other direction: down at once, up after a rest.
func (t *tuner) turn(now time.Time) {
	if t.step < 0 {
		t.next, t.rested = 1, now.Add(tunerRest)
	} else {
		t.next = -1
	}
	t.step = 0
}
