package agent

import (
	"context"
	"errors"
	"time"

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

// verifyBySchedule verifies the restore points, one at a time, each when it is due: the one first that was verified longest ago.
// What the schedule is stands in the configuration, how far it has come in the records, so that it survives a restart.
func (a *Agent) verifyBySchedule() {
	if a.config.Verify.Shortest() == 0 {
		return
	}
	tried := map[string]time.Time{} // those that could not be looked at
	for {
		worked := false
		for _, deep := range []bool{true, false} {
			p, due := a.dueToVerify(deep, tried)
			if !due {
				continue
			}
			worked = true
			if !a.verifyDue(p, deep) {
				tried[p.ID] = time.Now()
			} else {
				delete(tried, p.ID)
			}
			break
		}
		wait := min(verifyPause, a.config.Verify.Shortest())
		if worked {
			wait = 0
		}
		if !pause(a.jobs.work, wait) {
			return
		}
	}
}

// dueToVerify is the restore point that was verified longest ago, if that is too long ago. A date in the future is none: a clock
// that was wrong once must not put a verification off for years.
func (a *Agent) dueToVerify(deep bool, tried map[string]time.Time) (record.Backup, bool) {
	interval := a.verifyInterval(deep)
	if interval == 0 {
		return record.Backup{}, false
	}
	now := time.Now()
	p, found, err := a.store.LongestUnverified(deep, now, func(id string) bool { return time.Since(tried[id]) < verifyRetry })
	if err != nil {
		a.log.Error("what is to be verified cannot be found out", logError, err)
		return p, false
	}
	return p, found && now.Sub(record.Believed(p.VerifiedAt(deep), now)) >= interval
}

func (a *Agent) verifyInterval(deep bool) time.Duration {
	if deep {
		return a.config.Verify.DeepInterval.Std()
	}
	return a.config.Verify.Interval.Std()
}

// verifyDue verifies the files of one restore point; what it stands on has its own turn. It returns whether what was found is on
// record.
func (a *Agent) verifyDue(p record.Backup, deep bool) bool {
	ctx, cancel := context.WithCancelCause(a.jobs.work)
	defer cancel(nil)
	a.verifying.mu.Lock()
	p, err := a.restorePoint(p.ID)
	if err == nil {
		a.verifying.next = &scheduled{p.ID, cancel}
	}
	a.verifying.mu.Unlock()
	if err != nil {
		return false
	}
	defer func() {
		a.verifying.mu.Lock()
		a.verifying.next = nil
		a.verifying.mu.Unlock()
	}()
	return a.verifyOne(ctx, p, deep)
}

// verifyPoint verifies the metadata of the files of one restore point, and records what it finds.
func (a *Agent) verifyPoint(ctx context.Context, p record.Backup) { a.verifyOne(ctx, p, false) }

// verifyOne verifies the files of one restore point, and reports whether what it found is on record.
func (a *Agent) verifyOne(ctx context.Context, p record.Backup, deep bool) bool {
	walk := &verifyWalk{agent: a, ctx: ctx, deep: deep, limit: a.verifyLimit, tell: func(VerifyProgress) {}}
	files := walk.point(p)
	if ctx.Err() != nil {
		return false
	}
	return a.recordVerification(p, deep, files)
}
