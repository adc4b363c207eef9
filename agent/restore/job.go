package restore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// UnitEvent wakes the jobs of the restores that an event concerns, and says whether there is one.
func (s *Service) UnitEvent(e units.Event) (owned bool) {
	return job.UnitEvent(s.active, e, export.UnitsOf)
}

// A restoreJob is the one goroutine that moves an active restore along.
type restoreJob struct {
	job.Job
	service *Service
	reading atomic.Pointer[Progress] // nil unless images are being read for their digests
}

// The causes of an end that is no failure.
var (
	errRestoreStopped = errors.New("stopped by request")
	errExpired        = errors.New("it expired")
	errUnread         = errors.New("no client reads its files")
)

// noFailure says whether the cause of an end is no failure.
func noFailure(cause error) bool {
	return errors.Is(cause, errRestoreStopped) || errors.Is(cause, errExpired) || errors.Is(cause, errUnread)
}

// launch starts the job of an active restore. If that fails, the restore ends.
func (s *Service) launch(r record.Restore) (*restoreJob, error) {
	j := &restoreJob{service: s}
	j.Start(s.Jobs, s.Log, r.ID, job.Restore)
	if err := s.active.Launch(r.ID, j, j.run, s.Backups.NudgeAll); err != nil {
		return nil, errors.Join(err, s.abandon(r))
	}
	return j, nil
}

// abandon ends a restore that was prepared but not started.
func (s *Service) abandon(r record.Restore) error {
	for _, to := range []record.RestoreState{record.RestoreStopping, record.RestoreFailed} {
		if _, err := s.Records.AdvanceRestore(r.ID, to, func(r *record.Restore) { r.Failure = job.FailureOf(job.ErrClosed()) }); err != nil {
			return err
		}
	}
	return nil
}

// run moves a restore from the state in its record to its end.
func (j *restoreJob) run() {
	defer close(j.Done)
	defer j.Cancel(nil)
	err := j.serve()
	if errors.Is(err, job.ErrStopping) && j.handedOver() {
		j.Answer(fault.New(fault.ShuttingDown, "restore %s continues while the agent restarts: ask for it after the restart", j.ID))
		return
	}
	if errors.Is(err, job.ErrStopping) {
		err = fault.New(fault.ShuttingDown, "restore %s: the agent was stopped before it was served", j.ID)
	}
	j.Answer(j.stop(err))
}

// handedOver says whether the next agent continues the restore: it is being served, and its clients read on.
func (j *restoreJob) handedOver() bool {
	r, err := j.service.Store.Restore(j.ID)
	return err == nil && r.State == record.RestoreServing
}

// serve exports the disks of a restore and watches it until it is to end. The error is the cause of the end.
func (j *restoreJob) serve() error {
	r, err := j.service.Store.Restore(j.ID)
	switch {
	case err != nil:
		return fault.New(fault.Internal, "restore %s: %w", j.ID, err)
	case r.State == record.RestoreStopping:
		return job.ErrResumed
	case r.State != record.RestoreServing:
		if r, err = j.export(r); err != nil {
			return err
		}
	}
	j.Answer(nil)
	for {
		if err := j.checkExporters(r); err != nil {
			return err
		}
		wait, err := j.checkTime(r)
		if err != nil {
			return err
		}
		if err := j.checkRoom(r); err != nil {
			return err
		}
		if err := j.Sleep(wait); err != nil {
			return err
		}
	}
}

// checkTime returns errExpired if a restore has expired, and otherwise the time until the next check. The expiry is a time of day,
// as the caller was told. Clients that are connected at that time are not disconnected before LatestAt.
func (j *restoreJob) checkTime(r record.Restore) (time.Duration, error) {
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
			j.service.Log.Warn("cannot count the clients of a restore", logkey.RestoreID, j.ID, logkey.Port, d.Port, logkey.Error, err)
		}
		if err != nil || n > 0 {
			return export.PollInterval, nil
		}
	}
	return 0, errExpired
}

// checkRoom ends a restore whose overlays take space that backups need. Data in the overlays is discarded in any case.
func (j *restoreJob) checkRoom(r record.Restore) error {
	if !r.Writable {
		return nil
	}
	repo, err := j.service.Repositories.Find(r.Repository)
	if err != nil {
		return err
	}
	if e := fault.From(repositories.CheckSpace(storage.FailFast(j.Ctx), repo, j.service.Config.Space.Reserve, "space.reserve")); e.Has(fault.NoSpace) {
		e.Message, e.RestoreID = fmt.Sprintf("restore %s: %s, so the restore ends and its written data is discarded", r.ID, e.Message), r.ID
		return e
	}
	return nil // a repository that does not answer for a moment is no reason to end the restore
}

// checkExporters fails if an exporter or the reader of the files is gone, has ended or was replaced.
func (j *restoreJob) checkExporters(r record.Restore) error {
	loaded, _, err := j.service.Exports.Check(&j.Job, export.Disks(r.Disks))
	if err != nil || loaded == nil {
		return err
	}
	return j.checkReader(r, loaded)
}

// stop removes what a restore made: units, overlays, leases. It repeats until the units are gone, because a port must not be leased
// again while its export is served. It returns the error for the caller of the start.
func (j *restoreJob) stop(cause error) error {
	s := j.service
	var r record.Restore
	err := j.UntilRecorded(func() (err error) {
		r, err = s.Records.ChangeRestore(j.ID, func(r *record.Restore) error {
			if r.State != record.RestoreStopping && !noFailure(cause) {
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
	if err := j.UntilDone("exporters cannot be stopped", func() error { return j.removeUnits(r) }); err != nil {
		return cause
	}
	failpoint.Reach("restore: units removed")
	left := s.clearScratch(r)
	failpoint.Reach("restore: overlays removed")
	end := record.RestoreEnded
	if r.Failure != nil {
		end = record.RestoreFailed
	}
	err = j.UntilRecorded(func() error {
		_, err := s.Records.AdvanceRestore(j.ID, end, func(r *record.Restore) { r.ScratchMade = left != nil })
		return err
	})
	if err != nil || r.Failure != nil {
		return cause
	}
	return fault.New(fault.WrongState, "restore %s was stopped: %w", j.ID, cause).OfRestore(j.ID)
}

func (j *restoreJob) removeUnits(r record.Restore) error {
	if r.Files != nil { // first, because it reads an export
		if err := j.service.Units.Remove(j.service.Jobs.Hard, r.Files.Unit); err != nil {
			return err
		}
	}
	repo, err := j.service.Repositories.Find(r.Repository)
	if err != nil { // it was configured when the restore began
		return j.service.Exports.RemovePairs(j.service.Jobs.Hard, export.Disks(r.Disks))
	}
	return j.service.Exports.Discard(j.service.Jobs.Hard, repo, export.Disks(r.Disks))
}

// clearScratch removes the overlays of a restore, if there are any. What cannot be removed now is removed later by SweepScratch.
func (s *Service) clearScratch(r record.Restore) error {
	if !r.ScratchMade {
		return nil
	}
	repo, err := s.Repositories.Find(r.Repository)
	if err == nil {
		err = repo.Mounted(storage.UntilStuck(s.Jobs.Hard))
	}
	if err == nil {
		err = repo.RemoveScratch(storage.UntilStuck(s.Jobs.Hard), r.ID)
	}
	if err != nil {
		s.Log.Error("overlays of a restore could not be removed", logkey.RestoreID, r.ID, logkey.Directory, r.Directory, logkey.Error, err)
	}
	return err
}
