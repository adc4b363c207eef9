package agent

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// pruneLook is how often it is looked whether the time of day has come: the clock may be set, and the host may sleep.
const pruneLook = 30 * time.Second

// pruneDaily applies the policies every day at the time that the configuration names. A time that nobody was there for is made up
// for, once.
func (a *Agent) pruneDaily() {
	hour, minute, ok := a.config.Prune.Daily()
	zone, err := a.config.Prune.Zone()
	if !ok || err != nil {
		return // as configured; a bad one was refused
	}
	began := time.Now()
	for pause(a.jobs.work, pruneLook) {
		last, err := a.store.Pruned()
		if err != nil {
			a.log.Error("the policies cannot be applied", logError, err)
			continue
		}
		if last.IsZero() || record.Future(last, time.Now()) { // never, or by a clock that was wrong
			last = began // the first time is the next one
		}
		if !pruneDue(last, time.Now().In(zone), hour, minute) {
			continue
		}
		a.log.Info("the policies are applied", logReason, "it is past "+a.config.Prune.At)
		if _, err := a.Prune(a.jobs.work, PruneRequest{Scheduled: true}); err != nil && a.jobs.work.Err() == nil && !AsError(err).has(Busy) {
			a.log.Error("the policies could not be applied", logError, err)
			// Not again before the next day: whatever is wrong, it is told by now.
			if err := a.store.SetPruned(time.Now()); err != nil {
				a.log.Error("that cannot be written down", logError, err)
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
