package restore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// UnitEvent is tellRuns for restores.
func (s *Service) UnitEvent(e units.Event) (owned bool) {
	for _, x := range s.active.List() {
		owned = x.UnitEvent(e, export.UnitsOf(x.ID)) || owned
	}
	return owned
}

// A restoration is the one goroutine that moves an active restore along, as a run does that of a backup.
type restoration struct {
	job.Job
	service *Service
	reading atomic.Pointer[Progress] // nil unless images are read for their digests
}

// The causes that are no failure of a restore.
var (
	errRestoreStopped = errors.New("stopped by request")
	errExpired        = errors.New("it expired")
	errUnread         = errors.New("no client reads its files")
)

// wanted says whether an end is no failure.
func wanted(cause error) bool {
	return errors.Is(cause, errRestoreStopped) || errors.Is(cause, errExpired) || errors.Is(cause, errUnread)
}

// launch starts the goroutine that moves an active restore along. One that cannot be launched ends.
func (s *Service) launch(r record.Restore) (*restoration, error) {
	x := &restoration{service: s}
	x.Start(s.Jobs, s.Log, r.ID, logkey.RestoreID)
	if err := s.active.Launch(r.ID, x, x.live, s.Backups.NudgeAll); err != nil {
		return nil, errors.Join(err, s.abandon(r))
	}
	return x, nil
}

// abandon ends a restore that was prepared and of which nothing was begun.
func (s *Service) abandon(r record.Restore) error {
	for _, to := range []record.RestoreState{record.RestoreStopping, record.RestoreFailed} {
		if _, err := s.Records.AdvanceRestore(r.ID, to, func(r *record.Restore) { r.Failure = job.FailureOf(job.ErrClosed()) }); err != nil {
			return err
		}
	}
	return nil
}

// live is the life of a restore, from whatever state its record is in to its end.
func (x *restoration) live() {
	defer close(x.Done)
	defer x.Cancel(nil)
	err := x.serve()
	if errors.Is(err, job.ErrStopping) && x.left() {
		x.Answer(fault.New(fault.ShuttingDown, "restore %s continues while the agent restarts: ask for it after the restart", x.ID))
		return
	}
	if errors.Is(err, job.ErrStopping) {
		err = fault.New(fault.ShuttingDown, "restore %s: the agent was stopped before it was served", x.ID)
	}
	x.Answer(x.stop(err))
}

// left says whether the restore is left to the next agent: it is being served, and whoever reads it reads on.
func (x *restoration) left() bool {
	r, err := x.service.Store.Restore(x.ID)
	return err == nil && r.State == record.RestoreServing
}

// serve brings a restore to where it is served and watches it until it is to end, which the error says why.
func (x *restoration) serve() error {
	r, err := x.service.Store.Restore(x.ID)
	switch {
	case err != nil:
		return fault.New(fault.Internal, "restore %s: %w", x.ID, err)
	case r.State == record.RestoreStopping:
		return backup.ErrResumed
	case r.State != record.RestoreServing:
		if r, err = x.export(r); err != nil {
			return err
		}
	}
	x.Answer(nil)
	for {
		if x.Look.Swap(false) {
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
		if err := x.Sleep(wait); err != nil {
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
		return max(min(r.ExpiresAt.Sub(now), export.PollInterval), time.Millisecond), nil
	}
	for _, d := range r.Disks {
		n, err := sockets.Established(d.Port)
		if err != nil {
			x.service.Log.Warn("cannot count the clients of a restore", logkey.RestoreID, x.ID, logkey.Port, d.Port, logkey.Error, err)
		}
		if err != nil || n > 0 {
			return export.PollInterval, nil
		}
	}
	return 0, errExpired
}

// checkRoom ends a restore whose overlays grow into what backups need: what is written there is thrown away in any case.
func (x *restoration) checkRoom(r record.Restore) error {
	if !r.Writable {
		return nil
	}
	repo, err := x.service.Repositories.Find(r.Repository)
	if err != nil {
		return err
	}
	if e := fault.From(repositories.CheckSpace(repo, x.service.Config.Space.Reserve, "space.reserve")); e.Has(fault.NoSpace) {
		e.Message, e.RestoreID = fmt.Sprintf("restore %s: %s, so the restore ends and its written data is discarded", r.ID, e.Message), r.ID
		return e
	}
	return nil // a repository that does not answer for a moment is no reason to end it
}

// checkExporters fails when an exporter is no longer what was started: gone, ended, or another one.
func (x *restoration) checkExporters(r record.Restore) error {
	ctx, cancel := context.WithTimeout(x.Ctx, export.BusTimeout)
	defer cancel()
	loaded, err := x.service.Exports.List(ctx, r.ID)
	if err != nil {
		if x.Ctx.Err() != nil {
			return context.Cause(x.Ctx)
		}
		x.service.Log.Warn("cannot read the state of the exporters", logkey.RestoreID, x.ID, logkey.Error, err)
		x.Look.Store(true) // the bus is away
		return nil
	}
	for _, d := range r.Disks {
		u, there := loaded[d.Unit]
		how := ""
		switch {
		case !there:
			how = "its unit is gone"
		case u.InvocationID != d.InvocationID:
			how = "its unit was replaced"
		case !u.Running():
			how = fmt.Sprintf("it ended during the restore: result %s, exit status %d", export.ResultOf(u), u.ExecMainStatus)
		default:
			continue
		}
		return x.exporterGone(ctx, d, how)
	}
	return x.checkReader(ctx, r, loaded)
}

func (x *restoration) exporterGone(ctx context.Context, d record.RestoreDisk, how string) error {
	e := export.UnitError(fault.ExporterFailed, "restore "+x.ID, d.DiskID, d.Unit, fmt.Errorf("exporter of %s: %s", d.ExportName, how))
	e.RestoreID = x.ID
	var err error
	if e.Journal, err = x.service.Units.Journal(ctx, d.Unit, export.JournalLines); err != nil {
		e.Journal = []string{"(the journal cannot be read: " + err.Error() + ")"}
	}
	return e
}

// stop takes back what a restore has done: units, overlays, leases. It goes on until the units are gone, because a port
// whose export still serves must not be leased again. What is returned is for the caller of the start.
func (x *restoration) stop(cause error) error {
	a := x.service
	var r record.Restore
	err := x.UntilRecorded(func() (err error) {
		r, err = a.Records.ChangeRestore(x.ID, func(r *record.Restore) error {
			if r.State != record.RestoreStopping && !wanted(cause) {
				r.Failure = job.FailureOf(cause)
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
	if err := x.UntilDone("exporters cannot be stopped", func() error { return x.removeUnits(r) }); err != nil {
		return cause
	}
	failpoint.Reach("restore: units removed")
	left := a.clearScratch(r)
	failpoint.Reach("restore: overlays removed")
	end := record.RestoreEnded
	if r.Failure != nil {
		end = record.RestoreFailed
	}
	err = x.UntilRecorded(func() error {
		_, err := a.Records.AdvanceRestore(x.ID, end, func(r *record.Restore) { r.ScratchMade = left != nil })
		return err
	})
	if err != nil || r.Failure != nil {
		return cause
	}
	e := fault.New(fault.WrongState, "restore %s was stopped: %w", x.ID, cause)
	e.RestoreID = x.ID
	return e
}

func (x *restoration) removeUnits(r record.Restore) error {
	group, ctx := errgroup.WithContext(x.service.Jobs.Hard)
	group.SetLimit(export.MaxParallelDisks)
	if r.Files != nil { // first: it reads the others
		if err := x.service.Units.Remove(ctx, r.Files.Unit); err != nil {
			return err
		}
	}
	for _, d := range r.Disks {
		group.Go(func() error { return x.service.Exports.Remove(ctx, d.Unit, d.InvocationID, d.Image) })
	}
	return group.Wait()
}

// clearScratch removes the overlays of a restore, if there are any. What cannot be removed now is swept later.
func (s *Service) clearScratch(r record.Restore) error {
	if !r.ScratchMade {
		return nil
	}
	repo, err := s.Repositories.Find(r.Repository)
	if err == nil {
		err = repositories.RequireMounted(repo)
	}
	if err == nil {
		err = repo.RemoveScratch(r.ID)
	}
	if err != nil {
		s.Log.Error("overlays of a restore could not be removed", logkey.RestoreID, r.ID, logkey.Directory, r.Directory, logkey.Error, err)
	}
	return err
}
