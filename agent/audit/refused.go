package audit

import (
	"fmt"
	"sync"
	"time"
)

// refusedEvery is how often the refusals of one user and method are recorded: a user who may do nothing must not fill the disk.
const refusedEvery = time.Minute

// refusals are the refused requests of the last refusedEvery.
type refusals struct {
	mu   sync.Mutex
	last map[refusal]refused
}

type refusal struct {
	uid    uint32
	method string
}

type refused struct {
	at      time.Time // when the last one was recorded
	omitted int       // how many came after it
}

// maxRefusals is how many users and methods are remembered. What is forgotten is recorded again.
const maxRefusals = 1000

// Refused records a request that was refused because of its user, once a minute for each user and method. An entry says how many were not
// recorded since the one before it. e has the user, the method and the error.
func (r *Recorder) Refused(e Entry) {
	if r == nil {
		return
	}
	omitted, due := r.refusals.due(refusal{*e.UID, e.Method}, time.Now())
	if !due {
		return
	}
	if omitted > 0 {
		e.Message += fmt.Sprintf(" (and %d more since the last entry about it)", omitted)
	}
	e.Kind, e.Params, e.User = Refused, bounded(e.Params), r.user(e.UID)
	r.append(e, true)
}

// due counts a refusal, and says whether it is to be recorded, and how many were not since the last one.
func (s *refusals) due(one refusal, now time.Time) (omitted int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.last[one]
	if known && now.Sub(before.at) < refusedEvery && !now.Before(before.at) {
		before.omitted++
		s.last[one] = before
		return 0, false
	}
	if s.last == nil || len(s.last) >= maxRefusals {
		s.last = map[refusal]refused{}
	}
	s.last[one] = refused{at: now}
	return before.omitted, true
}
