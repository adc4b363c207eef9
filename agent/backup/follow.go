package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
)

// untilPoll is the time until the next poll. All jobs poll at the same moment, so a hundred of them wake the process as often as
// one.
func untilPoll() time.Duration {
	now := time.Now()
	return now.Truncate(export.PollInterval).Add(export.PollInterval).Sub(now)
}

// follow waits until every disk is reported complete. It fails if an exporter or SBC ends earlier, or a deadline passes.
func (j *Job) follow() error {
	var p activity
	var b record.Backup
	var err error
	defer j.inquiry.Begin(j.Ctx)()
	for j.changed.Store(true); ; {
		if j.changed.Swap(false) {
			if b, err = j.service.Store.Backup(j.ID); err != nil {
				j.service.Log.Error("the record cannot be read", logkey.BackupID, j.ID, logkey.Error, err)
				j.changed.Store(true)
				if err := j.Sleep(untilPoll()); err != nil {
					return err
				}
				continue
			}
		}
		if b.State == record.Finishing {
			return nil
		}
		if _, result, err := j.service.Exports.Check(&j.Job, export.Disks(b.Runs)); err != nil {
			if result != "" {
				j.service.Metrics.ExporterCrashed(result)
			}
			return err
		}
		if b.AllComplete() && b.State == record.Running {
			return nil
		}
		if b, err = j.checkClient(j.resolveByReport(b)); err != nil {
			return err
		}
		if err := j.checkDeadlines(b, &p); err != nil {
			return err
		}
		if err := j.Sleep(untilPoll()); err != nil {
			return err
		}
	}
}

// activity is when the exports last received data.
type activity struct {
	trace    trace
	at       time.Time
	lookedAt time.Time
}

// trace is what a copy changes while it is in progress: the bytes received and, because a user's service manager does not count
// those, the size and the time of the last change of the images.
type trace struct {
	received  uint64
	allocated int64
	changedAt time.Time
}

// traceOf returns the present trace. What cannot be seen of the images now, such as in a repository that does not answer, is as it was
// before: it is no progress.
func (j *Job) traceOf(b record.Backup, disks []record.DiskProgress, before trace) trace {
	t := trace{}
	for i := range b.Runs {
		t.received += disks[i].ReceivedBytes
	}
	repo, err := j.service.Repositories.Find(b.Repository)
	for _, d := range b.Runs {
		var info storage.FileInfo
		if err == nil {
			info, err = repo.Stat(storage.FailFast(j.Ctx), d.Image)
		}
		if err != nil {
			t.allocated, t.changedAt = before.allocated, before.changedAt
			return t
		}
		t.allocated += info.AllocatedBytes
		if info.ChangedAt.After(t.changedAt) {
			t.changedAt = info.ChangedAt
		}
	}
	return t
}

// checkDeadlines measures from a time of this process, so a change of the clock has no effect. After a restart of the agent each
// deadline starts again: a late failure is better than the loss of a good backup.
func (j *Job) checkDeadlines(b record.Backup, p *activity) error {
	now, limits := time.Now(), j.service.Config.Deadlines
	if first := limits.FirstConnection.Std(); b.SeenAt.IsZero() && first > 0 && now.Sub(j.began) > first {
		if err := j.cameAndWent(b); err != nil {
			return err
		}
		return fault.New(fault.DeadlinePassed, "backup %s: no client has connected within %s of the request to the SNA", b.ID, first).OfBackup(b.ID).
			WithHint("the SNA accepts a job before it logs in to vCenter. Read its log for the reason (deadlines.first_connection)")
	}
	if whole := limits.WholeRun.Std(); whole > 0 && now.Sub(j.began) > whole {
		return fault.New(fault.DeadlinePassed, "backup %s: not done within %s", b.ID, whole).OfBackup(b.ID).
			WithHint("raise deadlines.whole_run if the VM is large")
	}
	if err := j.checkSilence(b); err != nil {
		return err
	}
	if err := j.checkRoom(b); err != nil {
		return err
	}
	return j.checkProgress(b, p, now)
}

// checkRoom fails a backup whose repository is full: qemu-nbd survives that without a message, and SBC ends without one.
func (j *Job) checkRoom(b record.Backup) error {
	repo, err := j.service.Repositories.Find(b.Repository)
	if err != nil {
		return nil // the end of the backup finds out; the exporters continue
	}
	err = repositories.CheckSpace(storage.FailFast(j.Ctx), repo, j.service.Config.Space.Floor, "space.floor")
	if e := fault.From(err); e.Has(fault.NoSpace) {
		e.Message, e.BackupID = fmt.Sprintf("backup %s: %s", b.ID, e.Message), b.ID
		return e
	}
	return nil // a repository that does not answer for a moment is no reason to discard a copy
}

func (j *Job) checkProgress(b record.Backup, p *activity, now time.Time) error {
	limit := j.service.Config.Deadlines.NoProgress.Std()
	if limit <= 0 || b.SeenAt.IsZero() || now.Sub(p.lookedAt) < min(limit/10, 30*time.Second) {
		return nil
	}
	p.lookedAt = now
	ctx, cancel := context.WithTimeout(j.Ctx, export.BusTimeout)
	defer cancel()
	disks, err := j.service.sample(ctx, b)
	if err != nil {
		return nil // nothing is known, so nothing is concluded
	}
	if now := j.traceOf(b, disks, p.trace); now != p.trace || p.at.IsZero() {
		p.trace, p.at = now, time.Now()
	}
	if now.Sub(p.at) <= limit {
		return nil
	}
	return fault.New(fault.DeadlinePassed, "backup %s: no export has received data for %s, after %d bytes in total", b.ID, limit, p.trace.received).OfBackup(b.ID).
		WithHint("read the backup client's log on the SNA (deadlines.no_progress)")
}
