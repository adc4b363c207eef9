package run

import (
	"errors"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/backup/progress"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// The tags of the backups of a run.
const (
	TagRun      = "run"
	TagSchedule = "schedule"
)

// try begins the next try of a VM, or continues the one that another agent began, in a goroutine of its own.
func (r *runner) try(run record.Run, schedule config.Schedule, v record.RunVM) {
	r.trying.Store(v.VM, true)
	_ = r.service.Jobs.Spawn(func() { // fails only if the agent ends
		defer r.wake.Raise()
		defer r.trying.Delete(v.VM)
		r.tryOnce(run, schedule, v)
	})
}

// tryOnce makes one try and records how it ended. The request id is on record before the request is made, so an agent that is killed in
// between asks the same again, and gets the same backup.
func (r *runner) tryOnce(run record.Run, schedule config.Schedule, v record.RunVM) {
	s := r.service
	if v.State == record.RunVMWaiting {
		t := record.Try{RequestID: record.TryRequestID(run.ID, v.VM, len(v.Tries)+1), Type: s.typeOf(schedule, v.VM), Began: time.Now().UTC()}
		if !r.change(v.VM, func(v *record.RunVM) {
			v.State, v.NextTry, v.Tries = record.RunVMRunning, time.Time{}, append(v.Tries, t)
		}) {
			return
		}
		v.Tries = append(v.Tries, t)
	}
	t := v.Tries[len(v.Tries)-1]
	var b record.Backup
	err := r.before(run, v, t)
	if err == nil {
		b, err = s.Backups.Start(s.Jobs.Work, s.request(run, schedule, v.VM, t))
	}
	if s.Jobs.Work.Err() != nil {
		return // the next agent asks again
	}
	var first record.Backup
	found := false
	if !r.record(func() (err error) {
		first, found, err = s.Store.Requested(t.RequestID)
		return err
	}) {
		return
	}
	if found { // also if the start failed, or its outcome is unknown
		if !r.change(v.VM, func(v *record.RunVM) { v.Tries[len(v.Tries)-1].BackupID = first.ID }) {
			return
		}
		r.wake.Raise() // somebody may wait for the id to cancel it
		var ended bool
		if b, ended = s.waitEnd(s.Jobs.Work, first.ID); !ended {
			return
		}
	}
	hookErr := r.after(run, v, t, b, err)
	if s.Jobs.Work.Err() != nil {
		return // the next agent runs the hooks again
	}
	r.ended(run, schedule, v.VM, b, err, hookErr)
}

func (s *Service) request(run record.Run, schedule config.Schedule, vm string, t record.Try) backup.Request {
	zone, err := schedule.Zone()
	if err != nil {
		zone = time.Local
	}
	return backup.Request{
		VMName: vm, Type: t.Type, Repository: schedule.Repository, Policy: schedule.Policy, RequestID: t.RequestID, Queue: true,
		Tags: map[string]string{TagRun: run.ID, TagSchedule: run.Schedule}, RateLimit: schedule.RateLimit(t.Began.In(zone)),
	}
}

// typeOf is the type of the next backup of a VM.
func (s *Service) typeOf(schedule config.Schedule, vm string) record.Type {
	if schedule.Type != "" && schedule.Type != string(record.Auto) {
		return record.Type(schedule.Type)
	}
	if schedule.FullAfter == 0 && schedule.FullEvery.Std() == 0 {
		return record.Auto
	}
	repository := schedule.Repository
	if repository == "" {
		repository = s.Config.DefaultRepository
	}
	points, err := s.Store.PointsOf(store.PointGroup{Repository: repository, VM: vm})
	if err != nil {
		s.Log.Error("the restore points of a VM cannot be read", logkey.VM, vm, logkey.Error, err)
		return record.Auto
	}
	return dueType(points, schedule.FullAfter, schedule.FullEvery.Std(), time.Now())
}

// dueType is Full if the last full backup is older than every, or after incrementals were made since; 0 is no rule. points are the restore
// points of a VM, the newest first.
func dueType(points []record.Backup, after int, every time.Duration, now time.Time) record.Type {
	for i, b := range points {
		if b.Type != record.Full {
			continue
		}
		if after > 0 && i >= after || every > 0 && now.Sub(b.CreatedAt) >= every {
			return record.Full
		}
		break
	}
	return record.Auto
}

// ended records how a try ended, and what follows. b is its backup, if there is one; err is why it could not be started, and hookErr the
// failure of a hook after it that counts.
func (r *runner) ended(run record.Run, schedule config.Schedule, vm string, b record.Backup, err, hookErr error) {
	now := time.Now().UTC()
	t := outcome(b, err)
	if t.Reason == "" && hookErr != nil {
		t = outcome(record.Backup{}, hookErr)
	}
	cooling, _ := r.service.Store.CoolingUntil(vm, now)
	verdict, canceled := verdicts[fault.Reason(t.Reason)], r.whyCanceled(run, now)
	r.change(vm, func(v *record.RunVM) {
		last := &v.Tries[len(v.Tries)-1]
		last.Received = progress.Summarize(b, progress.Recorded(b)).ReceivedBytes
		last.Ended, last.Reason, last.Message, last.Hint, last.Free = now, t.Reason, t.Message, t.Hint, t.Reason != "" && verdict == tryAsFree
		switch {
		case notBegun(err):
			v.State, v.Why, v.EndedAt = record.RunVMCanceled, err.Error(), now
			if errors.Is(err, errWindow) {
				end := missed(*v)
				v.State, v.Why = end.State, end.Why
			}
		case b.State == record.Completed && hookErr != nil: // the restore point is there, so there is no further try
			v.State, v.EndedAt = record.RunVMFailed, now
		case b.State == record.Completed:
			v.State, v.EndedAt = record.RunVMCompleted, now
		case b.State == record.Cancelled:
			v.State, v.Why, v.EndedAt = record.RunVMCanceled, canceled, now
		case verdict == giveUp || len(v.Tries) >= maxTries || v.Counted() > schedule.MaxRetries():
			v.State, v.EndedAt = record.RunVMFailed, now
		default:
			wait := backOff(schedule.FirstRetry(), v.Counted())
			if last.Free {
				wait = freeBackOff(schedule.FirstRetry(), len(v.Tries)-v.Counted())
			}
			v.State, v.NextTry = record.RunVMWaiting, now.Add(wait)
			if cooling.After(v.NextTry) {
				v.NextTry = cooling
			}
		}
	})
}

// whyCanceled says why a backup of the run was canceled, as far as it is known.
func (r *runner) whyCanceled(run record.Run, now time.Time) string {
	if now, err := r.service.Store.RunAlone(run.ID); err == nil && now.Canceling {
		return whyCanceled
	}
	if run.Over(now) {
		return whyAtWork
	}
	return "the backup was canceled"
}

// outcome is the error of a try; empty if it completed or was canceled.
func outcome(b record.Backup, err error) (t record.Try) {
	switch {
	case b.State == record.Completed, b.State == record.Cancelled, notBegun(err):
		return t
	case b.Failure != nil:
		t.Reason, t.Message, t.Hint = b.Failure.Reason, b.Failure.Message, b.Failure.Hint
	case err != nil:
		e := fault.From(err)
		t.Reason, t.Message, t.Hint = string(e.Reason), e.Message, e.Hint
	default:
		t.Reason, t.Message = string(fault.BackupNotFound), "its record was deleted"
	}
	t.Message, t.Hint = shortened(t.Message), shortened(t.Hint)
	return t
}

func shortened(text string) string {
	if len(text) <= record.MaxTryMessage {
		return text
	}
	return strings.ToValidUTF8(text[:record.MaxTryMessage], "") + "…"
}

// change changes the record of a VM of the run. It returns false if the agent ends first.
func (r *runner) change(vm string, change func(*record.RunVM)) bool {
	return r.record(func() error {
		_, err := r.service.Store.UpdateRunVM(r.id, vm, change)
		r.changed.Store(true)
		return err
	})
}
