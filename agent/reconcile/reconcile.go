// Package reconcile brings records and reality together: at the agent's start, and whenever units or directories may have been left
// behind. A planner computes steps from what was observed, each with its reason; an applier takes them through the services that own
// what they change.
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
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Reconciler works with.
type Parts struct {
	Config       *config.Config
	Store        *store.Store
	Records      *ledger.Ledger
	Repositories *repositories.Set
	Admission    *admission.Control
	Backups      *backup.Service
	Restores     *restore.Service
	Merges       *merge.Service
	Policies     *prune.Service
	Units        *units.Manager
	Jobs         *job.Group
	Log          *slog.Logger
	Metrics      *metrics.Counters
	Watchers     *events.Watchers
	UnitsChanged job.Signal // units that no job cares for may have changed
	BootID       string     // of the host; "" if the kernel does not tell
}

// A Reconciler looks and acts. Each of its methods is called from one goroutine at a time.
type Reconciler struct{ Parts }

// New returns a Reconciler.
func New(p Parts) *Reconciler { return &Reconciler{p} }

// listTimeout bounds one look for units that serve nothing.
const listTimeout = 2 * time.Minute

// TakeUp takes up every backup that was active when the last agent ended.
func (r *Reconciler) TakeUp() error {
	w := r.emptyWorld()
	if err := r.observeRecords(&w); err != nil {
		return err
	}
	return r.apply(r.Jobs.Work, plan(w))
}

// WatchUnits removes the units of ours that serve no active backup. It looks whenever the bus tells of one that no run
// cares for, whenever events may have been missed, and after the end of each backup.
func (r *Reconciler) WatchUnits() {
	told := map[string]string{} // why each unit is left alone
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

// WatchDirectories removes, now and then, what undone and deleted backups have left in the repositories. It has a
// goroutine of its own, as a repository may hang.
func (r *Reconciler) WatchDirectories() {
	for {
		if err := r.reconcile(r.observeDirectories, nil); err != nil && r.Jobs.Work.Err() == nil {
			r.Log.Error("cannot bring repositories and records into agreement yet", logkey.Error, err)
		}
		if !job.Pause(r.Jobs.Work, prune.ReconcileInterval) {
			return
		}
	}
}

// reconcile looks at a part of the world, makes a plan, and follows it. told remembers what was left alone, so that it is
// told once.
func (r *Reconciler) reconcile(look func(*observed) error, told map[string]string) error {
	w := r.emptyWorld()
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

// apply follows a plan. After a step that fails, the rest of what was planned for the same backup waits for the next time.
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

// tellStep logs a step. What only goes on is no cause for worry.
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
	case removeDirectory, settleRewrite:
		attrs = append(attrs, logkey.Directory, s.directory.path)
	}
	r.Log.Log(ctx, level, "reconcile step", attrs...)
}

// do takes one step. Each may be taken again.
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
	case settleRewrite:
		return r.Merges.SettleLeft(s.backupID)
	case removeScratch:
		return r.Restores.SweepScratch(s.restoreID)
	}
	return r.takeUp(s)
}

// takeUp launches the run of an active backup that has none.
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
		r.Metrics.SNACalls.WithLabelValues("unknown").Inc() // the agent that asked did not live to count it
		b, err = r.Records.Advance(s.backupID, record.Unresolved, nil)
	}
	if err != nil {
		return err
	}
	_, err = r.Backups.Launch(b)
	return err
}

// clearDirectory removes what an undone or deleted backup has left, or sets it aside if that was wanted.
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
	return repo.RemoveDir(s.directory.vm, s.backupID)
}
