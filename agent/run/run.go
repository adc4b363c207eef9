// Package run moves a scheduled run along: it finds out which VMs there are, starts their backups, tries again what can succeed, and records
// what became of each VM. It does not know when a run is due: see package schedule. Everything it decides is on record, so an agent that
// is restarted continues where the last one ended, and starts no backup twice.
package run

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/hook"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Service works with.
type Parts struct {
	Config    *config.Config
	Store     *store.Store
	Inventory *inventory.Inventory
	Backups   Backups
	Hooks     *hook.Service
	Jobs      *job.Group
	Log       *slog.Logger
	Metrics   *metrics.Counters
}

// Backups starts, cancels and follows backups: package backup.
type Backups interface {
	Start(ctx context.Context, r backup.Request) (record.Backup, error)
	Cancel(ctx context.Context, id string) (record.Backup, error)
	Ended(id string) <-chan struct{}
}

// A Service moves runs along. Its methods may be called from any goroutine.
type Service struct {
	Parts
	active *job.Set[*runner]
}

// New returns a Service without runs.
func New(p Parts) *Service { return &Service{Parts: p, active: job.NewSet[*runner](p.Jobs)} }

// Begin puts a run on record and moves it along. A run that is recorded as skipped does nothing.
func (s *Service) Begin(run record.Run) (record.Run, error) {
	run, err := s.Store.AddRun(run)
	if err != nil {
		return run, ledger.NotFound(err)
	}
	if run.State != record.RunRunning {
		s.Metrics.RunsEnded.WithLabelValues(run.Schedule, string(run.State)).Inc()
		s.Log.Warn("scheduled run skipped", logkey.RunID, run.ID, logkey.Schedule, run.Schedule, logkey.Reason, run.Why)
		return run, nil
	}
	s.Log.Info("scheduled run begins", logkey.RunID, run.ID, logkey.Schedule, run.Schedule)
	return run, s.launch(run.ID)
}

// TakeUp moves the runs along that were in progress when the last agent ended. It stops the hooks of an agent that was killed: they run again.
func (s *Service) TakeUp() error {
	if err := s.Hooks.Stop(s.Jobs.Work); err != nil {
		s.Log.Warn("hooks of an earlier agent cannot be stopped", logkey.Error, err)
	}
	list, err := s.Store.Runs(store.RunQuery{Active: true})
	if err != nil {
		return fault.From(err)
	}
	for _, run := range list {
		s.Log.Info("scheduled run continues", logkey.RunID, run.ID, logkey.Schedule, run.Schedule)
		if err := s.launch(run.ID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) launch(id string) error {
	r := &runner{service: s, id: id, wake: job.NewSignal()}
	return s.active.Launch(id, r, r.run, func() {})
}

// Active reports whether a run of a schedule is in progress, and which.
func (s *Service) Active(schedule string) (record.Run, bool, error) {
	list, err := s.Store.Runs(store.RunQuery{Schedule: schedule, Active: true, Limit: 1})
	if err != nil || len(list) == 0 {
		return record.Run{}, false, err
	}
	return list[0], true, nil
}

// Cancel ends a run: nothing more of it starts, and its backups in progress are canceled. It returns at once. It fails with reason
// RunNotFound, and with WrongState if the run has ended.
func (s *Service) Cancel(id string) (record.Run, error) {
	run, err := s.Store.UpdateRun(id, func(r *record.Run) { r.Canceling = true })
	if ended := new(store.RunEndedError); errors.As(err, &ended) {
		return run, fault.New(fault.WrongState, "%w", err)
	}
	if err != nil {
		return run, ledger.NotFound(err)
	}
	if r := s.active.Get(id); r != nil {
		r.wake.Raise()
	}
	return run, nil
}

// List returns the selected runs, the latest due time first.
func (s *Service) List(q store.RunQuery) ([]record.Run, error) {
	list, err := s.Store.Runs(q)
	if err != nil {
		return nil, fault.From(err)
	}
	for i, run := range list {
		if run.State == record.RunRunning {
			if list[i], _, err = s.Get(run.ID); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// Get returns a run with its VMs in the order of the run. It fails with reason RunNotFound.
func (s *Service) Get(id string) (record.Run, []record.RunVM, error) {
	run, vms, err := s.Store.Run(id)
	if err != nil {
		return run, nil, ledger.NotFound(err)
	}
	slices.SortStableFunc(vms, func(a, b record.RunVM) int { return a.Place - b.Place })
	if run.State == record.RunRunning {
		run.Counts, _ = record.CountOf(vms)
	}
	return run, vms, nil
}
