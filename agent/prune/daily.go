package prune

import (
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// pruneLook is how often it is looked whether the time of day has come: the clock may be set, and the host may sleep.
const pruneLook = 30 * time.Second

// RunDaily applies the policies every day at the time that the configuration names. A time that nobody was there for is made up
// for, once.
func (s *Service) RunDaily() {
	hour, minute, ok := s.Config.Prune.Daily()
	zone, err := s.Config.Prune.Zone()
	if !ok || err != nil {
		return // as configured; a bad one was refused
	}
	began := time.Now()
	for job.Pause(s.Jobs.Work, pruneLook) {
		last, err := s.Store.Pruned()
		if err != nil {
			s.Log.Error("the policies cannot be applied", logkey.Error, err)
			continue
		}
		if last.IsZero() || record.Future(last, time.Now()) { // never, or by a clock that was wrong
			last = began // the first time is the next one
		}
		if !pruneDue(last, time.Now().In(zone), hour, minute) {
			continue
		}
		s.Log.Info("the policies are applied", logkey.Reason, "it is past "+s.Config.Prune.At)
		if _, err := s.Prune(s.Jobs.Work, Request{Scheduled: true}); err != nil && s.Jobs.Work.Err() == nil && !fault.From(err).Has(fault.Busy) {
			s.Log.Error("the policies could not be applied", logkey.Error, err)
			// Not again before the next day: whatever is wrong, it is told by now.
			if err := s.Store.SetPruned(time.Now()); err != nil {
				s.Log.Error("the time of the run cannot be recorded", logkey.Error, err)
			}
		}
	}
}

// pruneDue says whether a time of day has come since the policies were last applied. Where the clocks leave it out, its hour
// later counts, as time.Date has it; where it comes twice, the first.
func pruneDue(last, now time.Time, hour, minute int) bool {
	due := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, now.Location())
	if due.After(now) {
		due = time.Date(now.Year(), now.Month(), now.Day()-1, hour, minute, 0, 0, now.Location())
	}
	if last.After(now) { // the clock was set back
		return !due.Before(now.Add(-pruneLook))
	}
	return last.Before(due)
}
