// Package schedule begins the runs of the configured schedules when they are due. A due time that has passed is handled once: with a run, or
// with the record of a run that was skipped, and why. It does not know how a run continues: see package run.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/run"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Service works with.
type Parts struct {
	Config *config.Config
	Store  *store.Store
	Runs   *run.Service
	Jobs   *job.Group
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// A Service begins runs. Its methods may be called from any goroutine.
type Service struct {
	Parts
	tables sync.Map   // timetables by id: systemd reads an expression once
	begins sync.Mutex // held from the look for a run in progress to the begin of the next one
}

// Check returns what is wrong with the calendar expression of a schedule, or of several.
func Check(ctx context.Context, list ...config.Schedule) error {
	var all []error
	for _, s := range list {
		if _, err := newTimetable(ctx, s); err != nil {
			all = append(all, fmt.Errorf("schedule %q: %w", s.ID, err))
		}
	}
	return errors.Join(all...)
}

// New returns a Service. Watch begins the runs of a schedule.
func New(p Parts) *Service {
	if p.Now == nil {
		p.Now = time.Now
	}
	return &Service{Parts: p}
}

const (
	look       = 10 * time.Second // how often a schedule looks at the clock: it may be set, and the host may sleep
	forgetTime = time.Hour        // how often old runs are removed
)

// Watch begins the runs of a schedule until the agent ends.
func (s *Service) Watch(c config.Schedule) {
	w := &watcher{service: s, config: c, active: s.Runs.Active, begun: s.Runs.Begin}
	logged := ""
	for wait := time.Duration(0); job.Pause(s.Jobs.Work, wait); wait = look {
		trouble := ""
		if err := w.look(s.Jobs.Work, s.Now()); err != nil && s.Jobs.Work.Err() == nil {
			trouble = err.Error()
		}
		if trouble != "" && trouble != logged {
			s.Log.Error("a schedule begins no runs; it is tried again every ten seconds", logkey.Schedule, c.ID, logkey.Error, trouble)
		}
		logged = trouble
	}
}

// A watcher begins the runs of one schedule.
type watcher struct {
	service *Service
	config  config.Schedule
	table   timetable
	next    due // the next due time, as of state
	state   record.ScheduleState
	looked  time.Time

	active func(schedule string) (record.Run, bool, error) // run.Service.Active
	begun  func(record.Run) (record.Run, error)            // run.Service.Begin
}

// look begins a run if one is due at the time now.
func (w *watcher) look(ctx context.Context, now time.Time) error {
	s := w.service
	table, err := s.timetable(ctx, w.config)
	if err != nil {
		return err
	}
	w.table = table
	state, err := s.state(w.config.ID, now)
	if err != nil {
		return err
	}
	if !state.Handled.Equal(w.state.Handled) || now.Before(w.looked) || w.looked.IsZero() { // else the next due time is known
		if w.next, err = w.table.next(ctx, state); err != nil {
			return err
		}
	}
	w.state, w.looked = state, now
	if w.next.at.IsZero() || now.Before(w.next.begin) {
		return nil
	}
	d, err := w.table.latest(ctx, state, now)
	if err != nil || d.at.IsZero() {
		return err
	}
	if now.Before(d.begin) { // the spread is longer than the time between two runs
		d = w.next
	}
	return w.begin(d, state, now)
}

func (w *watcher) begin(d due, state record.ScheduleState, now time.Time) error {
	w.service.begins.Lock()
	defer w.service.begins.Unlock()
	running, _, err := w.active(w.config.ID)
	if err != nil {
		return err
	}
	r := w.table.run(d.at, now)
	if why := w.table.judge(d, state, running.ID, now); why != "" {
		r.State, r.Why, r.EndedAt = record.RunSkipped, why, now
	}
	_, err = w.begun(r)
	return err
}

// run is the run of a due time.
func (t timetable) run(at, now time.Time) record.Run {
	return record.Run{
		ID: record.RunID(t.config.ID, at), Schedule: t.config.ID, Groups: t.config.Groups, Due: at, State: record.RunRunning, StartedAt: now,
		WindowEnd: t.windowEnd(at), CancelAfterWindow: t.config.AfterWindow == config.CancelAfterWindow,
	}
}

// timetable is the timetable of a schedule. An error is not kept: systemd may be busy.
func (s *Service) timetable(ctx context.Context, c config.Schedule) (timetable, error) {
	if t, known := s.tables.Load(c.ID); known {
		return t.(timetable), nil
	}
	t, err := newTimetable(ctx, c)
	if err == nil {
		s.tables.Store(c.ID, t)
	}
	return t, err
}

// state is what is on record about a schedule. One that is seen for the first time is handled up to now: its first run is the next one. So is
// one whose last due time is far ahead, because the clock was.
func (s *Service) state(id string, now time.Time) (record.ScheduleState, error) {
	state, _, err := s.Store.Schedule(id)
	ahead := state.Handled.After(now.Add(backTolerance))
	if err == nil && (ahead || state.Handled.IsZero()) {
		if ahead {
			s.Log.Warn("a schedule begins again from now: the clock was ahead when it last had a run", logkey.Schedule, id, "due", state.Handled)
		}
		state.ID, state.Handled = id, now
		err = s.Store.HandleSchedule(id, now)
	}
	if err != nil {
		return state, fault.From(err)
	}
	return state, nil
}

// ForgetOld removes the records of old runs, until the agent ends.
func (s *Service) ForgetOld() {
	for ok := true; ok; ok = job.Pause(s.Jobs.Work, forgetTime) {
		removed, err := s.Store.ForgetRuns(s.Now().Add(-s.Config.Runs.Keep.Std()))
		if err != nil {
			s.Log.Error("old runs cannot be removed", logkey.Error, err)
		} else if removed > 0 {
			s.Log.Info("old runs removed", "runs", removed)
		}
	}
}

// Run begins a run of a schedule now, as a person asks for it. It has no window, and the schedule continues as it is. It fails with reason
// ScheduleNotFound, and with WrongState while a run of the schedule is in progress.
func (s *Service) Run(id string) (record.Run, error) {
	c, err := s.find(id)
	if err != nil {
		return record.Run{}, err
	}
	s.begins.Lock()
	defer s.begins.Unlock()
	running, active, err := s.Runs.Active(id)
	if err != nil {
		return record.Run{}, fault.From(err)
	}
	if active {
		return running, fault.New(fault.WrongState, "schedule %s: run %s is in progress", id, running.ID).
			WithHint("wait for its end (run watch), or cancel it (run cancel)")
	}
	now := s.Now().Truncate(time.Second)
	return s.Runs.Begin(record.Run{
		ID: record.RunID(id, now), Schedule: id, Groups: c.Groups, Due: now, Manual: true, State: record.RunRunning, StartedAt: now,
	})
}

func (s *Service) find(id string) (config.Schedule, error) {
	c, known := s.Config.Schedule(id)
	if known {
		return c, nil
	}
	e := fault.New(fault.ScheduleNotFound, "schedule %q is not configured", id)
	if len(s.Config.Schedules) == 0 {
		return c, e.WithHint("the configuration has no [[schedule]]")
	}
	return c, e.WithHint("schedule.list shows the schedules")
}

// A Status is a schedule as it is now.
type Status struct {
	Config  config.Schedule
	State   record.ScheduleState
	Next    []time.Time // the next times at which runs begin, blackout days left out; none while it is paused
	Last    *record.Run // the run of the latest due time; nil if there was none
	Running *record.Run // nil if none is in progress
	Error   string      // why the next times are not known
}

// List returns the schedules in the order of the configuration, each with its next n times; only one if an id is given. It fails with
// reason ScheduleNotFound.
func (s *Service) List(ctx context.Context, id string, n int) ([]Status, error) {
	if id != "" {
		one, err := s.Status(ctx, id, n)
		return []Status{one}, err
	}
	list := make([]Status, 0, len(s.Config.Schedules))
	for _, c := range s.Config.Schedules {
		status, err := s.Status(ctx, c.ID, n)
		if err != nil {
			return nil, err
		}
		list = append(list, status)
	}
	return list, nil
}

// Status returns a schedule with its next n times. It fails with reason ScheduleNotFound.
func (s *Service) Status(ctx context.Context, id string, n int) (Status, error) {
	c, err := s.find(id)
	if err != nil {
		return Status{}, err
	}
	status, now := Status{Config: c}, s.Now()
	if status.State, err = s.state(id, now); err != nil {
		return status, err
	}
	runs, err := s.Store.Runs(store.RunQuery{Schedule: id})
	if err != nil {
		return status, fault.From(err)
	}
	for i, r := range runs {
		if r.State == record.RunRunning {
			status.Running = &runs[i]
		}
		if status.Last == nil {
			status.Last = &runs[i]
		}
	}
	if status.Next, err = s.upcoming(ctx, c, status.State, n, now); err != nil {
		status.Error = err.Error()
	}
	return status, nil
}

// upcoming returns when the next n runs of a schedule begin.
func (s *Service) upcoming(ctx context.Context, c config.Schedule, state record.ScheduleState, n int, now time.Time) (list []time.Time, err error) {
	if !state.PausedSince.IsZero() {
		return nil, nil
	}
	t, err := s.timetable(ctx, c)
	if err != nil {
		return nil, err
	}
	return t.upcoming(ctx, state, n, now)
}

// Next returns when the next run of a schedule begins that is not paused; the zero time if none ever does, because its calendar has passed,
// or all its days are blackout days.
func Next(ctx context.Context, c config.Schedule, now time.Time) (time.Time, error) {
	t, err := newTimetable(ctx, c)
	if err != nil {
		return time.Time{}, err
	}
	list, err := t.upcoming(ctx, record.ScheduleState{}, 1, now)
	if err != nil || len(list) == 0 {
		return time.Time{}, err
	}
	return list[0], nil
}

// Pause stops a schedule from beginning runs, until Resume. A run in progress continues.
func (s *Service) Pause(ctx context.Context, id, reason string) (Status, error) {
	if _, err := s.find(id); err != nil {
		return Status{}, err
	}
	reason, err := record.PauseReason(reason)
	if err != nil {
		return Status{}, fault.New(fault.InvalidRequest, "%w", err)
	}
	if err := s.Store.PauseSchedule(id, reason, s.Now()); err != nil {
		return Status{}, ledger.NotFound(err)
	}
	s.Log.Info("schedule paused", logkey.Schedule, id, logkey.Reason, reason)
	return s.Status(ctx, id, 1)
}

// Resume lets a schedule begin runs again. What was due meanwhile is not made up.
func (s *Service) Resume(ctx context.Context, id string) (Status, error) {
	if _, err := s.find(id); err != nil {
		return Status{}, err
	}
	if err := s.Store.ResumeSchedule(id); err != nil {
		return Status{}, ledger.NotFound(err)
	}
	s.Log.Info("schedule resumed", logkey.Schedule, id)
	return s.Status(ctx, id, 1)
}
