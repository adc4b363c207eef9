package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// A restoration is the one goroutine that moves an active restore along, as a run does that of a backup.
type restoration struct {
	life
	agent   *Agent
	reading atomic.Pointer[RestoreProgress] // nil unless images are read for their digests
}

// The causes that are no failure of a restore.
var (
	errRestoreStopped = errors.New("stopped by request")
	errExpired        = errors.New("its time is over")
	errUnread         = errors.New("nobody reads its files any more")
)

// wanted says whether an end is no failure.
func wanted(cause error) bool {
	return errors.Is(cause, errRestoreStopped) || errors.Is(cause, errExpired) || errors.Is(cause, errUnread)
}

// launchRestore starts the goroutine that moves an active restore along. One that cannot be launched ends.
func (a *Agent) launchRestore(r record.Restore) (*restoration, error) {
	x := &restoration{agent: a}
	x.start(a.jobs, a.log, r.ID, logRestoreID)
	if err := a.restores.launch(r.ID, x, x.live, a.nudgeRuns); err != nil {
		return nil, errors.Join(err, a.abandonRestore(r))
	}
	return x, nil
}

// abandonRestore ends a restore that was prepared and of which nothing was begun.
func (a *Agent) abandonRestore(r record.Restore) error {
	for _, to := range []record.RestoreState{record.RestoreStopping, record.RestoreFailed} {
		if _, err := a.advanceRestore(r.ID, to, func(r *record.Restore) { r.Failure = failureOf(errClosed()) }); err != nil {
			return err
		}
	}
	return nil
}

// live is the life of a restore, from whatever state its record is in to its end.
func (x *restoration) live() {
	defer close(x.done)
	defer x.cancel(nil)
	err := x.serve()
	if errors.Is(err, errStopping) && x.left() {
		x.answer(errorf(ShuttingDown, "restore %s goes on, but the agent is stopping: ask for it when the agent is back", x.id))
		return
	}
	if errors.Is(err, errStopping) {
		err = errorf(ShuttingDown, "restore %s: the agent was stopped before it was served", x.id)
	}
	x.answer(x.stop(err))
}

// left says whether the restore is left to the next agent: it is being served, and whoever reads it reads on.
func (x *restoration) left() bool {
	r, err := x.agent.store.Restore(x.id)
	return err == nil && r.State == record.RestoreServing
}

// serve brings a restore to where it is served and watches it until it is to end, which the error says why.
func (x *restoration) serve() error {
	r, err := x.agent.store.Restore(x.id)
	switch {
	case err != nil:
		return errorf(Internal, "restore %s: %w", x.id, err)
	case r.State == record.RestoreStopping:
		return errResumed
	case r.State != record.RestoreServing:
		if r, err = x.export(r); err != nil {
			return err
		}
	}
	x.answer(nil)
	for {
		if x.look.Swap(false) {
			if err := x.checkExporters(r); err != nil {
				return err
			}
		}
		wait, err := x.checkTime(r)
		if err != nil {
			return err
		}
		if err := x.checkRoom(r); err != nil {
			return err
		}
		if err := x.sleep(wait); err != nil {
			return err
		}
	}
}

// checkTime returns errExpired when a restore's time is over, and otherwise how long it may be until the next look. Expiry
// is a time of day, as somebody was told; whoever is connected at that time is not cut off before the latest.
func (x *restoration) checkTime(r record.Restore) (time.Duration, error) {
	now := time.Now()
	switch {
	case !now.Before(r.LatestAt):
		return 0, errExpired
	case now.Before(r.ExpiresAt):
		return max(min(r.ExpiresAt.Sub(now), pollInterval), time.Millisecond), nil
	}
	for _, d := range r.Disks {
		n, err := sockets.Established(d.Port)
		if err != nil {
			x.agent.log.Warn("the clients of a restore cannot be counted", logRestoreID, x.id, logPort, d.Port, logError, err)
		}
		if err != nil || n > 0 {
			return pollInterval, nil
		}
	}
	return 0, errExpired
}

// checkRoom ends a restore whose overlays grow into what backups need: what is written there is thrown away in any case.
func (x *restoration) checkRoom(r record.Restore) error {
	if !r.Writable {
		return nil
	}
	repo, err := x.agent.findRepository(r.Repository)
	if err != nil {
		return err
	}
	if e := AsError(checkSpace(repo, x.agent.config.Space.Reserve, "space.reserve")); e.has(NoSpace) {
		e.Message, e.RestoreID = fmt.Sprintf("restore %s: %s, so what was written to it is given up", r.ID, e.Message), r.ID
		return e
	}
	return nil // a repository that does not answer for a moment is no reason to end it
}

// checkExporters fails when an exporter is no longer what was started: gone, ended, or another one.
func (x *restoration) checkExporters(r record.Restore) error {
	ctx, cancel := context.WithTimeout(x.ctx, busTimeout)
	defer cancel()
	loaded, err := x.agent.exporters(ctx, r.ID)
	if err != nil {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		x.agent.log.Warn("exporters cannot be looked at", logRestoreID, x.id, logError, err)
		x.look.Store(true) // the bus is away
		return nil
	}
	for _, d := range r.Disks {
		u, there := loaded[d.Unit]
		how := ""
		switch {
		case !there:
			how = "its unit is gone"
		case u.InvocationID != d.InvocationID:
			how = "its unit is another one by now"
		case !u.Running():
			how = fmt.Sprintf("it ended while it served: result %s, exit status %d", resultOf(u), u.ExecMainStatus)
		default:
			continue
		}
		return x.exporterGone(ctx, d, how)
	}
	return x.checkReader(ctx, r, loaded)
}

func (x *restoration) exporterGone(ctx context.Context, d record.RestoreDisk, how string) error {
	e := unitError(ExporterFailed, "restore "+x.id, d.DiskID, d.Unit, fmt.Errorf("exporter of %s: %s", d.ExportName, how))
	e.RestoreID = x.id
	var err error
	if e.Journal, err = x.agent.units.Journal(ctx, d.Unit, journalLines); err != nil {
		e.Journal = []string{"(the journal cannot be read: " + err.Error() + ")"}
	}
	return e
}

// stop takes back what a restore has done: units, overlays, leases. It goes on until the units are gone, because a port
// whose export still serves must not be leased again. What is returned is for the caller of the start.
func (x *restoration) stop(cause error) error {
	a := x.agent
	var r record.Restore
	err := x.untilRecorded(func() (err error) {
		r, err = a.changeRestore(x.id, func(r *record.Restore) error {
			if r.State != record.RestoreStopping && !wanted(cause) {
				r.Failure = failureOf(cause)
			}
			r.State = record.RestoreStopping
			return nil
		})
		return err
	})
	if err != nil {
		return cause
	}
	failpoint.Reach("restore: before units")
	if err := x.untilDone("exporters cannot be stopped", func() error { return x.removeUnits(r) }); err != nil {
		return cause
	}
	failpoint.Reach("restore: units removed")
	left := a.clearScratch(r)
	failpoint.Reach("restore: overlays removed")
	end := record.RestoreEnded
	if r.Failure != nil {
		end = record.RestoreFailed
	}
	err = x.untilRecorded(func() error {
		_, err := a.advanceRestore(x.id, end, func(r *record.Restore) { r.ScratchMade = left != nil })
		return err
	})
	if err != nil || r.Failure != nil {
		return cause
	}
	e := errorf(WrongState, "restore %s was stopped: %w", x.id, cause)
	e.RestoreID = x.id
	return e
}

func (x *restoration) removeUnits(r record.Restore) error {
	group, ctx := errgroup.WithContext(x.agent.jobs.hard)
	group.SetLimit(maxParallelDisks)
	if r.Files != nil { // first: it reads the others
		if err := x.agent.units.Remove(ctx, r.Files.Unit); err != nil {
			return err
		}
	}
	for _, d := range r.Disks {
		group.Go(func() error { return x.agent.removePair(ctx, d.Unit, d.InvocationID, d.Image) })
	}
	return group.Wait()
}

// clearScratch removes the overlays of a restore, if there are any. What cannot be removed now is swept later.
func (a *Agent) clearScratch(r record.Restore) error {
	if !r.ScratchMade {
		return nil
	}
	repo, err := a.findRepository(r.Repository)
	if err == nil {
		err = present(repo)
	}
	if err == nil {
		err = repo.RemoveScratch(r.ID)
	}
	if err != nil {
		a.log.Error("overlays of a restore are left behind", logRestoreID, r.ID, logDirectory, r.Directory, logError, err)
	}
	return err
}

// changeRestore changes the record of a restore.
func (a *Agent) changeRestore(id string, f func(*record.Restore) error) (record.Restore, error) {
	r, err := a.changeRestoreRecord(id, f)
	if err != nil {
		return r, fmt.Errorf("restore %s: its record cannot be changed: %w", id, err)
	}
	return r, nil
}

// changeRestoreRecord is the one place where the record of a restore changes: a transaction, then the log line, the metric and the event.
func (a *Agent) changeRestoreRecord(id string, f func(*record.Restore) error, options ...store.RestoreOption) (record.Restore, error) {
	before, after, err := a.store.UpdateRestore(id, time.Now(), func(r *record.Restore) error {
		if err := f(r); err != nil {
			return err
		}
		failpoint.Reach("committing restore " + string(r.State))
		return nil
	}, options...)
	if err != nil {
		return after, err
	}
	failpoint.Reach("committed restore " + string(after.State))
	if before.State != after.State {
		a.logRestore(before, after)
		a.metrics.restoreTransition(before, after)
	}
	a.watchers.tell(Event{Kind: EventState, Restore: &after})
	return after, nil
}

// advanceRestore brings a restore to a state; f, which may be nil, changes more of its record in the same transaction.
func (a *Agent) advanceRestore(id string, to record.RestoreState, f func(*record.Restore)) (record.Restore, error) {
	return a.changeRestore(id, func(r *record.Restore) error {
		if f != nil {
			f(r)
		}
		r.State = to
		return nil
	})
}

func (a *Agent) logRestore(before, after record.Restore) {
	level, attrs := slog.LevelInfo, []any{
		logRestoreID, after.ID, logBackupID, after.BackupID, logVM, after.VMName, logFrom, string(before.State), logTo, string(after.State),
	}
	if f := after.Failure; f != nil && before.Failure == nil {
		level = slog.LevelError
		attrs = append(attrs, logReason, f.Reason, logError, f.Message, logJournal, f.Journal)
	}
	a.log.Log(context.Background(), level, "restore "+string(after.State), attrs...)
}
