package run

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// A runner is the one goroutine that moves a run along.
type runner struct {
	service *Service
	id      string
	wake    job.Signal
	trying  sync.Map // names of the VMs with a goroutine of this agent

	vms     []record.RunVM // as they were read last
	changed atomic.Bool    // a VM has changed since; set after the change is on record
}

// look is how often a runner looks although nothing has happened: clocks may be set.
const look = 10 * time.Second

func (r *runner) run() {
	s := r.service
	for {
		ended, wake, err := r.advance()
		if ended {
			return
		}
		if err != nil {
			s.Log.Error("a scheduled run cannot continue; it is tried again", logkey.RunID, r.id, logkey.Error, err)
		}
		wait := look
		if !wake.IsZero() {
			wait = max(min(wait, time.Until(wake)), 10*time.Millisecond)
		}
		timer := time.NewTimer(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-s.Jobs.Work.Done():
		}
		timer.Stop()
		if s.Jobs.Work.Err() != nil {
			return
		}
	}
}

// advance takes one step. It reports whether the run has ended, and when the next step is due at the latest.
func (r *runner) advance() (ended bool, wake time.Time, err error) {
	s := r.service
	trying := r.tried() // before the records are read: those that are not in it have recorded how they ended
	run, vms, err := r.read()
	if err != nil {
		return false, wake, err
	}
	if run.State != record.RunRunning {
		return true, wake, nil
	}
	schedule, configured := s.Config.Schedule(run.Schedule)
	if !run.Prepared {
		if err := r.prepare(run); err != nil {
			return false, wake, err
		}
		return r.advance()
	}
	if !run.Resolved {
		if err := r.resolve(run, schedule); err != nil {
			return false, wake, err
		}
		r.changed.Store(true)
		return r.advance()
	}
	now, queued := time.Now(), map[string]bool{}
	if run.Over(now) {
		queued = r.queued(vms)
	}
	next := plan(run, vms, queued, schedule.MaxParallel(), now)
	if !configured {
		next = abandon(next)
	}
	for vm, end := range next.end {
		if err := r.endVM(vm, end); err != nil {
			return false, wake, err
		}
	}
	for _, v := range vms {
		begin := slices.Contains(next.start, v.VM)
		if !trying[v.VM] && (begin || v.State == record.RunVMRunning) {
			r.try(run, schedule, v)
		}
		if slices.Contains(next.cancel, v.VM) {
			r.cancel(v)
		}
	}
	if next.done {
		return true, wake, r.end()
	}
	return false, next.wake, nil
}

// read returns the run and its VMs. It reads the VMs again only if one has changed: a run has hundreds, and looks at the clock often.
func (r *runner) read() (record.Run, []record.RunVM, error) {
	if !r.changed.Swap(false) && r.vms != nil {
		run, err := r.service.Store.RunAlone(r.id)
		return run, r.vms, err
	}
	run, vms, err := r.service.Store.Run(r.id)
	r.vms = vms // nil if they cannot be read
	return run, vms, err
}

// tried returns the VMs with a goroutine of this agent.
func (r *runner) tried() map[string]bool {
	list := map[string]bool{}
	r.trying.Range(func(vm, _ any) bool {
		list[vm.(string)] = true
		return true
	})
	return list
}

// abandon is the step of a run whose schedule is not configured any more: what waits is skipped.
func abandon(s step) step {
	for _, vm := range s.start {
		s.end[vm] = record.End{State: record.RunVMSkipped, Why: whyGone}
	}
	s.start = nil
	return s
}

// queued returns the VMs whose backup is in the queue.
func (r *runner) queued(vms []record.RunVM) map[string]bool {
	list := map[string]bool{}
	for _, v := range vms {
		if v.State != record.RunVMRunning {
			continue
		}
		if b, err := r.service.Store.Backup(v.Tries[len(v.Tries)-1].BackupID); err == nil && b.State == record.Queued {
			list[v.VM] = true
		}
	}
	return list
}

func (r *runner) endVM(vm string, end record.End) error {
	_, err := r.service.Store.UpdateRunVM(r.id, vm, func(v *record.RunVM) {
		if !v.State.Ended() {
			v.State, v.Why, v.NextTry, v.EndedAt = end.State, end.Why, time.Time{}, time.Now().UTC()
		}
	})
	r.changed.Store(true)
	return err
}

// cancel cancels the backup of a VM that is in progress.
func (r *runner) cancel(v record.RunVM) {
	id := v.Tries[len(v.Tries)-1].BackupID
	if id == "" {
		return // it is being started; the runner looks again
	}
	_ = r.service.Jobs.Spawn(func() {
		if _, err := r.service.Backups.Cancel(r.service.Jobs.Work, id); err != nil {
			r.service.Log.Warn("a backup of a run cannot be canceled yet", logkey.RunID, r.id, logkey.BackupID, id, logkey.Error, err)
		}
	})
}

// end records the end of a run.
func (r *runner) end() error {
	s := r.service
	run, vms, err := s.Store.Run(r.id)
	if err != nil {
		return err
	}
	counts, state := record.CountOf(vms)
	why := run.Why
	switch {
	case run.Canceling:
		state, why = record.RunCanceled, whyCanceled
	case why != "": // a hook before it failed
		state = record.RunFailed
	}
	state, why, warnings, err := r.conclude(run, counts, state, why)
	if err != nil {
		return err
	}
	run, err = s.Store.UpdateRun(r.id, func(run *record.Run) {
		run.State, run.Why, run.Counts, run.EndedAt = state, why, counts, time.Now().UTC()
		warn(run, warnings)
	})
	if err != nil {
		return err
	}
	for _, v := range vms {
		s.Metrics.RunVMsEnded.WithLabelValues(run.Schedule, string(v.State)).Inc()
	}
	s.Metrics.RunsEnded.WithLabelValues(run.Schedule, string(run.State)).Inc()
	s.Log.Info("scheduled run ended", logkey.RunID, run.ID, logkey.Schedule, run.Schedule, logkey.To, run.State,
		"completed", run.Counts.Completed, "failed", run.Counts.Failed, "skipped", run.Counts.Skipped, "canceled", run.Counts.Canceled)
	return nil
}

// record repeats an access to the records until it succeeds. It returns false if the agent ends first.
func (r *runner) record(change func() error) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := change()
		if err == nil {
			return true
		}
		r.service.Log.Error("the records of a run cannot be read or written; it is tried again", logkey.RunID, r.id, logkey.Error, err)
		if !job.Pause(r.service.Jobs.Work, wait) {
			return false
		}
	}
}

// waitEnd waits until a backup has ended, and returns its record. It returns false if the agent ends first.
func (s *Service) waitEnd(ctx context.Context, id string) (record.Backup, bool) {
	for {
		b, err := s.Store.Backup(id)
		if gone := new(store.NotFoundError); errors.As(err, &gone) {
			return b, true // it was deleted
		}
		if err == nil && b.State.Terminal() {
			return b, true
		}
		select {
		case <-s.Backups.Ended(id):
		case <-ctx.Done():
			return b, false
		}
		if !job.Pause(ctx, 100*time.Millisecond) {
			return b, false
		}
	}
}
