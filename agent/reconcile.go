package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// reconcileInterval is how often the agent looks whether records and world agree, beside being told: a repository that was
// away when a backup was undone gives back what is left in it when it returns.
const reconcileInterval = 10 * time.Minute

// listTimeout bounds one look for units that serve nothing.
const listTimeout = 2 * time.Minute

// takeUpActive takes up every backup that was active when the last agent ended.
func (a *Agent) takeUpActive() error {
	w := a.emptyWorld()
	if err := a.observeRecords(&w); err != nil {
		return err
	}
	return a.apply(a.jobs.work, plan(w))
}

// reconcileUnits removes the units of ours that serve no active backup. It looks whenever the bus tells of one that no run
// cares for, whenever events may have been missed, and after the end of each backup.
func (a *Agent) reconcileUnits() {
	told := map[string]string{} // why each unit is left alone
	for {
		err := a.reconcile(func(w *world) error { return a.observeUnits(w) }, told)
		if err != nil && a.jobs.work.Err() == nil {
			a.log.Error("units and records do not agree yet", logError, err)
		}
		select {
		case <-a.unitsChanged:
		case <-time.After(reconcileInterval):
		case <-a.jobs.work.Done():
			return
		}
	}
}

// reconcileDirectories removes, now and then, what undone and deleted backups have left in the repositories. It has a
// goroutine of its own, as a repository may hang.
func (a *Agent) reconcileDirectories() {
	for {
		if err := a.reconcile(a.observeDirectories, nil); err != nil && a.jobs.work.Err() == nil {
			a.log.Error("repositories and records do not agree yet", logError, err)
		}
		if !pause(a.jobs.work, reconcileInterval) {
			return
		}
	}
}

// reconcile looks at a part of the world, makes a plan, and follows it. told remembers what was left alone, so that it is
// told once.
func (a *Agent) reconcile(look func(*world) error, told map[string]string) error {
	w := a.emptyWorld()
	if err := look(&w); err != nil {
		return err
	}
	if err := a.observeRecords(&w); err != nil {
		return err
	}
	steps := plan(w)
	left := map[string]string{}
	for _, s := range steps {
		if s.action != leaveUnit {
			continue
		}
		if left[s.unit] = s.reason; told[s.unit] != s.reason {
			a.log.Warn("a unit that looks like an exporter is left alone", logUnit, s.unit, logReason, s.reason)
		}
	}
	clear(told)
	maps.Copy(told, left)
	return a.apply(a.jobs.work, steps)
}

func (a *Agent) emptyWorld() world {
	return world{
		slice: a.config.Agent.Slice, bootID: a.bootID, records: map[string]record.Backup{}, removed: map[string]string{},
		restores: map[string]record.Restore{},
	}
}

// observeUnits lists the units that carry our prefix. They come before the records: whatever is started has its record.
func (a *Agent) observeUnits(w *world) error {
	ctx, cancel := context.WithTimeout(a.jobs.work, listTimeout)
	defer cancel()
	var err error
	if w.units, err = a.units.ListBrief(ctx, unitPrefix); err != nil {
		return err
	}
	w.leases, err = a.store.Leases()
	return err
}

// observeDirectories lists what stands in the repositories without a manifest, and the deletions that were cut short. A
// repository that cannot be looked through is told of, and left for the next time.
func (a *Agent) observeDirectories(w *world) error {
	w.directories = []directory{}
	for _, repo := range a.repositories {
		list, err := repo.Unpublished()
		if err != nil {
			a.log.Warn("repository cannot be looked through", logError, err)
		}
		for _, u := range list {
			w.directories = append(w.directories, directory{
				repository: repo.ID, vm: u.VM, backupID: u.BackupID, path: repo.Dir(u.VM, u.BackupID), empty: u.Empty,
			})
		}
	}
	deleting, _, err := a.store.Backups(store.Query{State: record.Deleting, Limit: store.MaxPage})
	for _, b := range deleting {
		w.records[b.ID] = b
	}
	return errors.Join(err, a.observeScratch(w), a.observeRewrites(w))
}

// observeRewrites finds the rewritings that were cut short, and what others have left.
func (a *Agent) observeRewrites(w *world) error {
	for _, repo := range a.repositories {
		list, err := repo.Merges()
		if err != nil {
			a.log.Warn("repository cannot be looked through", logError, err)
		}
		for _, u := range list {
			w.merges = append(w.merges, directory{
				repository: repo.ID, vm: u.VM, backupID: u.BackupID, path: repo.MergeDir(u.VM, u.BackupID),
			})
		}
	}
	marked, err := a.store.Merges()
	live := a.rewrites.list()
	w.rewrites = slices.DeleteFunc(marked, func(b record.Backup) bool { return live[b.ID] != nil })
	w.merges = slices.DeleteFunc(w.merges, func(d directory) bool { return live[d.backupID] != nil })
	return err
}

// observeRecords reads the records of everything that was found, and finds the active backups that have no run. None can be
// launched meanwhile.
func (a *Agent) observeRecords(w *world) error {
	if err := a.observeRestores(w); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, u := range w.units {
		if !isRestore(u.Name) {
			names[backupOf(u.Name)] = true
		}
	}
	for _, l := range w.leases {
		if l.RestoreID == "" {
			names[l.BackupID] = true
		}
	}
	for _, d := range slices.Concat(w.directories, w.merges) {
		names[d.backupID] = true
	}
	for id := range names {
		b, err := a.store.Backup(id)
		if err == nil {
			w.records[id] = b
			continue
		}
		if !AsError(notFound(err)).has(BackupNotFound) {
			return err
		}
		if w.removed[id], err = a.store.RemovedFrom(id); err != nil {
			return err
		}
	}
	var err error
	w.idle, err = a.idle()
	return err
}

// idle are the active backups that no run moves along: those that an earlier agent has left.
func (a *Agent) idle() (idle []record.Backup, err error) {
	if err := a.admission.Acquire(a.jobs.work, 1); err != nil {
		return nil, errClosed()
	}
	defer a.admission.Release(1)
	live := a.runs.list() // before the records: a run outlasts its record's being active
	active, err := a.store.Active()
	for _, b := range active {
		if live[b.ID] == nil {
			idle = append(idle, b)
		}
	}
	return idle, err
}

// apply follows a plan. After a step that fails, the rest of what was planned for the same backup waits for the next time.
func (a *Agent) apply(ctx context.Context, steps []step) error {
	failed := map[string]error{}
	for _, s := range steps {
		if s.action == leaveUnit || failed[s.owner()] != nil {
			continue
		}
		a.tellStep(ctx, s)
		failpoint.Reach("reconcile: before " + string(s.action))
		if err := a.do(ctx, s); err != nil {
			failed[s.owner()] = fmt.Errorf("%s of %s, as %s: %w", s.action, s.owner(), s.reason, err)
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
func (a *Agent) tellStep(ctx context.Context, s step) {
	level, attrs := slog.LevelWarn, []any{"action", string(s.action), logReason, s.reason}
	if s.restoreID != "" {
		attrs = append(attrs, logRestoreID, s.restoreID)
	} else {
		attrs = append(attrs, logBackupID, s.backupID)
	}
	switch s.action {
	case resumeBackup, resumeDeletion:
		level = slog.LevelInfo
	case removeUnit:
		attrs = append(attrs, logUnit, s.unit)
	case returnLease:
		attrs = append(attrs, logPort, s.lease.Port)
	case removeDirectory, settleRewrite:
		attrs = append(attrs, logDirectory, s.directory.path)
	}
	a.log.Log(ctx, level, "records and world are brought together", attrs...)
}

// do takes one step. Each may be taken again.
func (a *Agent) do(ctx context.Context, s step) error {
	switch s.action {
	case removeUnit:
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		err := a.units.Remove(ctx, s.unit)
		if err == nil {
			a.metrics.orphans.Inc()
		}
		return err
	case returnLease:
		return a.store.ReturnStray(s.lease)
	case removeDirectory:
		return a.clearDirectory(s)
	case resumeDeletion:
		return a.resumeDeletion(s.backupID)
	case settleRewrite:
		return a.settleLeft(s.backupID)
	case removeScratch:
		return a.sweepScratch(s.restoreID)
	}
	return a.takeUp(s)
}

// takeUp launches the run of an active backup that has none.
func (a *Agent) takeUp(s step) error {
	b, err := a.store.Backup(s.backupID)
	if err != nil {
		return err
	}
	switch s.action {
	case undoBackup:
		interrupted := failureOf(errorf(ShuttingDown, "backup %s: %s", s.backupID, s.reason))
		b, err = a.advance(s.backupID, record.Undoing, func(b *record.Backup) { b.Failure = interrupted })
	case loseBackup:
		lost := failureOf(lostWithHost(b))
		b, err = a.advance(s.backupID, record.Undoing, func(b *record.Backup) { b.Failure = lost })
	case unresolve:
		a.metrics.snaCalls.WithLabelValues("unknown").Inc() // the agent that asked did not live to count it
		b, err = a.advance(s.backupID, record.Unresolved, nil)
	}
	if err != nil {
		return err
	}
	_, err = a.launch(b)
	return err
}

// lostWithHost says that a backup cannot go on, since its exporters went with the host.
func lostWithHost(b record.Backup) *Error {
	e := errorf(ExporterFailed, "backup %s: the host was restarted while it was %s, and its exporters ended with it", b.ID, b.State)
	e.BackupID, e.Hint = b.ID, "start it again: what was copied cannot be trusted to be on the disk"
	return e
}

// clearDirectory removes what an undone or deleted backup has left, or sets it aside if that was wanted.
func (a *Agent) clearDirectory(s step) error {
	b, err := a.store.Backup(s.backupID)
	if err == nil {
		return a.clearImages(b)
	}
	if !AsError(notFound(err)).has(BackupNotFound) {
		return err
	}
	repo, err := a.findRepository(s.directory.repository)
	if err != nil {
		return err
	}
	return repo.RemoveDir(s.directory.vm, s.backupID)
}
