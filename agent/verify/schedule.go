package verify

import (
	"context"
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

const (
	// verifyPause is how often it is looked whether a verification is due, and how long one that could not be done waits.
	verifyPause = time.Minute
	verifyRetry = time.Hour
)

// errGivenWay is the cause of a verification that ends because its restore point is being deleted.
var errGivenWay = errors.New("the restore point is being deleted")

// scheduled is the verification that the schedule has at work.
type scheduled struct {
	backupID string
	cancel   context.CancelCauseFunc
}

// RunSchedule verifies the restore points, one at a time, each when it is due: the one first that was verified longest ago.
// What the schedule is stands in the configuration, how far it has come in the records, so that it survives a restart.
func (s *Service) RunSchedule() {
	if s.Config.Verify.Shortest() == 0 {
		return
	}
	tried := map[string]time.Time{} // those that could not be looked at
	for {
		worked := false
		for _, deep := range []bool{true, false} {
			p, due := s.dueToVerify(deep, tried)
			if !due {
				continue
			}
			worked = true
			if !s.verifyDue(p, deep) {
				tried[p.ID] = time.Now()
			} else {
				delete(tried, p.ID)
			}
			break
		}
		wait := min(verifyPause, s.Config.Verify.Shortest())
		if worked {
			wait = 0
		}
		if !job.Pause(s.Jobs.Work, wait) {
			return
		}
	}
}

// dueToVerify is the restore point that was verified longest ago, if that is too long ago. A date in the future is none: a clock
// that was wrong once must not put a verification off for years.
func (s *Service) dueToVerify(deep bool, tried map[string]time.Time) (record.Backup, bool) {
	interval := s.VerifyInterval(deep)
	if interval == 0 {
		return record.Backup{}, false
	}
	now := time.Now()
	p, found, err := s.Store.LongestUnverified(deep, now, func(id string) bool { return time.Since(tried[id]) < verifyRetry })
	if err != nil {
		s.Log.Error("cannot find the next restore point to verify", logkey.Error, err)
		return p, false
	}
	return p, found && now.Sub(record.Believed(p.VerifiedAt(deep), now)) >= interval
}

func (s *Service) VerifyInterval(deep bool) time.Duration {
	if deep {
		return s.Config.Verify.DeepInterval.Std()
	}
	return s.Config.Verify.Interval.Std()
}

// verifyDue verifies the files of one restore point; what it stands on has its own turn. It returns whether what was found is on
// record.
func (s *Service) verifyDue(p record.Backup, deep bool) bool {
	ctx, cancel := context.WithCancelCause(s.Jobs.Work)
	defer cancel(nil)
	s.verifying.mu.Lock()
	p, err := s.restorePoint(p.ID)
	if err == nil {
		s.verifying.next = &scheduled{p.ID, cancel}
	}
	s.verifying.mu.Unlock()
	if err != nil {
		return false
	}
	defer func() {
		s.verifying.mu.Lock()
		s.verifying.next = nil
		s.verifying.mu.Unlock()
	}()
	return s.verifyOne(ctx, p, deep)
}

// VerifyMetadata verifies the metadata of the files of one restore point, and records what it finds.
func (s *Service) VerifyMetadata(ctx context.Context, p record.Backup) { s.verifyOne(ctx, p, false) }

// verifyOne verifies the files of one restore point, and reports whether what it found is on record.
func (s *Service) verifyOne(ctx context.Context, p record.Backup, deep bool) bool {
	walk := &verifyWalk{service: s, ctx: ctx, deep: deep, limit: s.limit, tell: func(Progress) {}}
	files := walk.point(p)
	if ctx.Err() != nil {
		return false
	}
	return s.recordVerification(p, deep, files)
}
