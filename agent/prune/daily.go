package prune

import (
	"time"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// pruneLook is how often RunDaily checks whether a prune is due. The clock may be set, and the host may sleep, so one timer is not enough.
const pruneLook = 30 * time.Second

// RunDaily applies the policies to a repository every day at the configured time. If the agent was down at that time, or the repository
// was paused or did not answer, RunDaily applies them once when that has passed.
func (s *Service) RunDaily(repository string) {
	hour, minute, ok := s.Config.Prune.Daily()
	zone, err := s.Config.Prune.Zone()
	if !ok || err != nil {
		return // not scheduled; an invalid configuration was refused before
	}
	began := time.Now()
	for job.Pause(s.Jobs.Work, pruneLook) {
		last, err := s.applied.of(s, repository)
		if err != nil {
			s.Log.Error("the policies cannot be applied", logkey.Repository, repository, logkey.Error, err)
			continue
		}
		if last.IsZero() || record.Future(last, time.Now()) { // never, or recorded with a wrong clock
			last = began // the first prune is at the next configured time
		}
		if pruneDue(last, time.Now().In(zone), hour, minute) && s.Gate.Check(repository) == nil {
			s.runDaily(repository)
		}
	}
}

func (s *Service) runDaily(repository string) {
	s.Log.Info("the policies are applied", logkey.Repository, repository, logkey.Reason, "it is past "+s.Config.Prune.At)
	_, err := s.Prune(s.Jobs.Work, Request{Repository: repository, Scheduled: true})
	if err == nil || s.Jobs.Work.Err() != nil || fault.From(err).Has(fault.Busy) || admission.IsClosed(err) {
		return
	}
	s.Log.Error("the policies could not be applied", logkey.Repository, repository, logkey.Error, err)
	// Do not try again before the next day: the error is in the log.
	if err := s.applied.note(s, repository, time.Now()); err != nil {
		s.Log.Error("the time of the run cannot be recorded", logkey.Repository, repository, logkey.Error, err)
	}
}

// pruneDue reports whether the time of day has passed since the policies were last applied. On a day without that time, the time one
// hour later counts, as with time.Date. On a day that has it twice, the first counts.
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
