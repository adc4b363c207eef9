// Package reconcile reconciles the records with what exists: at the start of the agent, and whenever orphans or directories may be
// left. A planner computes steps from what was observed, each with its reason. An applier takes the steps through the services that own
// what they change. It does not decide what becomes of an interrupted backup: see record.FateOf.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/publish"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Reconciler works with.
type Parts struct {
	Config              *config.Config
	Store               *store.Store
	Records             *ledger.Ledger
	Repositories        *repositories.Set
	Admission           *admission.Control
	Backups             *backup.Service
	Restores            *restore.Service
	Merges              *merge.Service
	Policies            *prune.Service
	Units               *units.Manager
	Jobs                *job.Group
	Log                 *slog.Logger
	Metrics             *metrics.Counters
	Watchers            *events.Watchers
	UnitsChanged        job.Signal // units without a job may have changed
	RepositoriesChanged job.Signal // one answers again
	BootID              string     // of the host; "" if unknown
}

// A Reconciler observes, plans and applies. Each of its methods is called from one goroutine at a time.
type Reconciler struct{ Parts }

// New returns a Reconciler.
func New(p Parts) *Reconciler { return &Reconciler{p} }

// listTimeout limits one list of the units, and the removal of one.
const listTimeout = 2 * time.Minute

// TakeUp continues or undoes every backup that was active when the last agent ended.
func (r *Reconciler) TakeUp() error {
	w := r.newObserved()
	if err := r.observeRecords(&w); err != nil {
		return err
	}
	return r.apply(r.Jobs.Work, plan(w))
}

// WatchUnits removes orphans. It looks for them when the bus reports a unit without a job, when events may have been missed, after the
// end of each backup, and every ReconcileInterval.
func (r *Reconciler) WatchUnits() {
	told := map[string]string{} // why each unit is left alone, as logged
	for {
		err := r.reconcile(func(w *observed) error { return r.observeUnits(w) }, told)
		if err != nil && r.Jobs.Work.Err() == nil {
			r.Log.Error("cannot bring units and records into agreement yet", logkey.Error, err)
		}
		select {
		case <-r.UnitsChanged:
		case <-time.After(prune.ReconcileInterval):
		case <-r.Jobs.Work.Done():
			return
		}
	}
}

// WatchDirectories removes, every ReconcileInterval and when a repository answers again, what undone and deleted backups left in the repositories. It has its own goroutine,
// because a repository may hang.
func (r *Reconciler) WatchDirectories() {
	for {
		if err := r.reconcile(r.observeDirectories, nil); err != nil && r.Jobs.Work.Err() == nil {
			r.Log.Error("cannot bring repositories and records into agreement yet", logkey.Error, err)
		}
		select {
		case <-r.RepositoriesChanged:
		case <-time.After(prune.ReconcileInterval):
		case <-r.Jobs.Work.Done():
			return
		}
	}
}

// reconcile observes a part, makes a plan, and applies it. told remembers which units were left alone, so that each is logged once.
func (r *Reconciler) reconcile(look func(*observed) error, told map[string]string) error {
	w := r.newObserved()
	if err := look(&w); err != nil {
		return err
	}
	if err := r.observeRecords(&w); err != nil {
		return err
	}
	steps := plan(w)
	left := map[string]string{}
	for _, s := range steps {
		if s.action != leaveUnit {
			continue
		}
		if left[s.unit] = s.reason; told[s.unit] != s.reason {
			r.Log.Warn("a unit with the name of an exporter is not ours; it is left alone", logkey.Unit, s.unit, logkey.Reason, s.reason)
		}
	}
	clear(told)
	maps.Copy(told, left)
	return r.apply(r.Jobs.Work, steps)
}

// apply takes the steps of a plan. After a step that fails, the other steps for the same backup or restore wait for the next plan.
func (r *Reconciler) apply(ctx context.Context, steps []step) error {
	failed := map[string]error{}
	for _, s := range steps {
		if s.action == leaveUnit || failed[s.owner()] != nil {
			continue
		}
		r.tellStep(ctx, s)
		failpoint.Reach("reconcile: before " + string(s.action))
		if err := r.do(ctx, s); err != nil {
			failed[s.owner()] = fmt.Errorf("%s of %s (%s): %w", s.action, s.owner(), s.reason, err)
		}
		failpoint.Reach("reconcile: after " + string(s.action))
	}
	var all []error
	for _, err := range failed {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// tellStep logs a step. A step that only resumes something is not a warning.
func (r *Reconciler) tellStep(ctx context.Context, s step) {
	level, attrs := slog.LevelWarn, []any{"action", string(s.action), logkey.Reason, s.reason}
	if s.restoreID != "" {
		attrs = append(attrs, logkey.RestoreID, s.restoreID)
	} else {
		attrs = append(attrs, logkey.BackupID, s.backupID)
	}
	switch s.action {
	case resumeBackup, resumeDeletion:
		level = slog.LevelInfo
	case removeUnit:
		attrs = append(attrs, logkey.Unit, s.unit)
	case returnLease:
		attrs = append(attrs, logkey.Port, s.lease.Port)
	case removeDirectory, settleMerge:
		attrs = append(attrs, logkey.Directory, s.directory.path)
	}
	r.Log.Log(ctx, level, "reconcile step", attrs...)
}

// do takes one step. Each step may be taken again.
func (r *Reconciler) do(ctx context.Context, s step) error {
	switch s.action {
	case removeUnit:
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		err := r.Units.Remove(ctx, s.unit)
		if err == nil {
			r.Metrics.Orphans.Inc()
		}
		return err
	case returnLease:
		return r.Store.ReturnStray(s.lease)
	case removeDirectory:
		return r.clearDirectory(s)
	case resumeDeletion:
		return r.Policies.ResumeDeletion(s.backupID)
	case settleMerge:
		return r.Merges.SettleLeft(s.backupID)
	case removeScratch:
		return r.Restores.SweepScratch(s.restoreID)
	}
	return r.takeUp(s)
}

// takeUp launches the job of an active backup that has none.
func (r *Reconciler) takeUp(s step) error {
	b, err := r.Store.Backup(s.backupID)
	if err != nil {
		return err
	}
	switch s.action {
	case undoBackup:
		interrupted := job.FailureOf(fault.New(fault.ShuttingDown, "backup %s: %s", s.backupID, s.reason))
		b, err = r.Records.Advance(s.backupID, record.Undoing, func(b *record.Backup) { b.Failure = interrupted })
	case loseBackup:
		lost := job.FailureOf(publish.LostWithHost(b))
		b, err = r.Records.Advance(s.backupID, record.Undoing, func(b *record.Backup) { b.Failure = lost })
	case unresolve:
		r.Metrics.SNACalls.WithLabelValues("unknown").Inc() // the agent that asked ended before it counted the call
		b, err = r.Records.Advance(s.backupID, record.Unresolved, nil)
	}
	if err != nil {
		return err
	}
	_, err = r.Backups.Launch(b)
	return err
}

// clearDirectory removes what an undone or deleted backup left, or sets it aside if so requested.
func (r *Reconciler) clearDirectory(s step) error {
	b, err := r.Store.Backup(s.backupID)
	if err == nil {
		return r.Backups.ClearImages(b)
	}
	if !fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound) {
		return err
	}
	repo, err := r.Repositories.Find(s.directory.repository)
	if err != nil {
		return err
	}
	return repo.RemoveDir(storage.UntilStuck(r.Jobs.Work), s.directory.vm, s.backupID)
}
