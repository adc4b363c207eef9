package run

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/hook"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// Why a VM is not backed up although the hooks before it have ended.
var (
	errCanceled = errors.New(whyCanceled)
	errWindow   = errors.New(whyWindow)
)

// prepare runs the hooks before a run. If the failure of one counts, the run has no VMs, and fails. The end of the hooks is on record before
// anything else is done; an agent that is killed meanwhile runs them again.
func (r *runner) prepare(run record.Run) error {
	ctx, stop := r.untilCanceled()
	warnings, err := r.service.Hooks.Run(ctx, hook.Event{When: config.BeforeRun, ScheduleID: run.Schedule, RunID: run.ID})
	stop()
	if r.service.Jobs.Work.Err() != nil {
		return job.ErrStopping
	}
	_, recorded := r.service.Store.UpdateRun(run.ID, func(run *record.Run) {
		run.Prepared = true
		warn(run, warnings)
		if err != nil && !errors.Is(err, errCanceled) {
			run.Resolved, run.Why = true, fault.From(err).Message
		}
	})
	return recorded
}

// conclude runs the hooks after a run, which ends as its VMs say. It returns how it ends now, and why.
func (r *runner) conclude(run record.Run, counts record.Counts, state record.RunState, why string) (record.RunState, string, []string, error) {
	warnings, err := r.service.Hooks.Run(r.service.Jobs.Work, hook.Event{
		When: config.AfterRun, ScheduleID: run.Schedule, RunID: run.ID, State: string(state), Message: why, Counts: (*hook.Counts)(&counts),
	})
	switch {
	case r.service.Jobs.Work.Err() != nil:
		return "", "", nil, job.ErrStopping
	case err == nil:
	case state == record.RunCanceled || why != "":
		warnings = append(warnings, fault.From(err).Message)
	default:
		state, why = record.RunFailed, fault.From(err).Message
	}
	return state, why, warnings, nil
}

// before runs the hooks before a try. It returns why the backup must not be asked for. A backup that was asked for already, by an agent
// that ended then, has had its hooks.
func (r *runner) before(run record.Run, v record.RunVM, t record.Try) error {
	s := r.service
	if len(s.Config.HooksOf(config.BeforeVM, run.Schedule, v.VM)) == 0 {
		return nil
	}
	asked := false
	if !r.record(func() (err error) {
		_, asked, err = s.Store.Requested(t.RequestID)
		return err
	}) || asked {
		return nil
	}
	ctx, stop := r.untilCanceled()
	defer stop()
	warnings, err := s.Hooks.Run(ctx, tryEvent(config.BeforeVM, run, v, t))
	r.warn(warnings)
	switch {
	case err != nil:
		return err
	case r.canceling():
		return errCanceled
	case run.Over(time.Now()):
		return errWindow
	}
	return nil
}

// after runs the hooks after a try. b is its backup, if there is one, and failure why it could not be started. The error is that of a hook
// whose failure counts.
func (r *runner) after(run record.Run, v record.RunVM, t record.Try, b record.Backup, failure error) error {
	e := tryEvent(config.AfterVM, run, v, t)
	end := outcome(b, failure)
	e.BackupID, e.Reason, e.Message = b.ID, end.Reason, end.Message
	switch {
	case b.State == record.Completed:
		e.State = string(record.RunVMCompleted)
	case b.State == record.Cancelled, notBegun(failure):
		e.State, e.Reason = string(record.RunVMCanceled), ""
	default:
		e.State = string(record.RunVMFailed)
	}
	warnings, err := r.service.Hooks.Run(r.service.Jobs.Work, e)
	r.warn(warnings)
	return err
}

func tryEvent(when string, run record.Run, v record.RunVM, t record.Try) hook.Event {
	number := slices.IndexFunc(v.Tries, func(o record.Try) bool { return o.RequestID == t.RequestID }) + 1
	return hook.Event{When: when, ScheduleID: run.Schedule, RunID: run.ID, VMName: v.VM, Try: number, BackupType: string(t.Type)}
}

// notBegun reports whether a try ended without a failure before its backup was asked for.
func notBegun(err error) bool { return errors.Is(err, errCanceled) || errors.Is(err, errWindow) }

// untilCanceled is a context that ends with errCanceled when somebody cancels the run, or with the agent.
func (r *runner) untilCanceled() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(r.service.Jobs.Work)
	_ = r.service.Jobs.Spawn(func() { // fails only if the agent ends
		for job.Pause(ctx, time.Second) {
			if r.canceling() {
				cancel(errCanceled)
			}
		}
	})
	return ctx, func() { cancel(nil) }
}

// canceling reports whether somebody has canceled the run.
func (r *runner) canceling() bool {
	run, err := r.service.Store.RunAlone(r.id)
	return err == nil && run.Canceling
}

// warn adds warnings to the run.
func (r *runner) warn(warnings []string) {
	if len(warnings) > 0 {
		r.record(func() error {
			_, err := r.service.Store.UpdateRun(r.id, func(run *record.Run) { warn(run, warnings) })
			if ended := new(store.RunEndedError); errors.As(err, &ended) {
				return nil
			}
			return err
		})
	}
}

// maxWarnings is how many warnings a run has. What is more is in the journal only.
const maxWarnings = 50

func warn(run *record.Run, warnings []string) {
	run.Warnings = append(run.Warnings, warnings[:min(len(warnings), max(maxWarnings-len(run.Warnings), 0))]...)
}
