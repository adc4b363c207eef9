package backup

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/units"
)

// untilPoll is the time until the next look. All runs look at the same moment: a hundred of them wake the process as often as
// one does.
func untilPoll() time.Duration {
	now := time.Now()
	return now.Truncate(export.PollInterval).Add(export.PollInterval).Sub(now)
}

// follow waits until every disk has been reported complete. It fails when an exporter or SBC ends before, or a deadline passes.
func (r *run) follow() error {
	var p progress
	var b record.Backup
	var err error
	defer r.inquiry.Begin(r.Ctx)()
	for r.changed.Store(true); ; {
		if r.changed.Swap(false) {
			if b, err = r.service.Store.Backup(r.ID); err != nil {
				r.service.Log.Error("the record cannot be read", logkey.BackupID, r.ID, logkey.Error, err)
				r.changed.Store(true)
				if err := r.Sleep(untilPoll()); err != nil {
					return err
				}
				continue
			}
		}
		if b.State == record.Finishing {
			return nil
		}
		if r.Look.Swap(false) {
			if err := r.checkExporters(b); err != nil {
				return err
			}
		}
		if b.AllComplete() && b.State == record.Running {
			return nil
		}
		if b, err = r.checkClient(r.heed(b)); err != nil {
			return err
		}
		if err := r.checkDeadlines(b, &p); err != nil {
			return err
		}
		if err := r.Sleep(untilPoll()); err != nil {
			return err
		}
	}
}

// checkExporters fails when an exporter is no longer what was started: gone, ended, or another one.
func (r *run) checkExporters(b record.Backup) error {
	ctx, cancel := context.WithTimeout(r.Ctx, export.BusTimeout)
	defer cancel()
	loaded, err := export.ByName(r.service.Units.ListBrief(ctx, export.UnitsOf(b.ID)))
	if err != nil {
		if r.Ctx.Err() != nil {
			return r.Sleep(0)
		}
		// The bus is away; it announces itself when it is back.
		r.service.Log.Warn("cannot read the state of the exporters", logkey.BackupID, r.ID, logkey.Error, err)
		r.Look.Store(true)
		return nil
	}
	for _, d := range b.Runs {
		u, there := loaded[d.Unit]
		if result, how := ending(d, u, there); how != "" {
			r.service.Metrics.ExporterCrashed(result)
			return r.service.Exports.ExporterGone(r.Ctx, r.ID, d, how)
		}
	}
	return nil
}

// ending says how an exporter that should run has ended; nothing while it runs.
func ending(d record.DiskRun, u units.Unit, there bool) (result, how string) {
	switch {
	case !there:
		return record.ResultGone, "its unit is gone"
	case u.InvocationID != d.InvocationID:
		return record.ResultGone, "its unit was replaced"
	case !u.Running():
		return export.ResultOf(u), fmt.Sprintf("it ended during the backup: result %s, exit status %d", export.ResultOf(u), u.ExecMainStatus)
	}
	return "", ""
}

// seen records a sign of life: whatever became of the answer, the request did arrive.
func seen(b *record.Backup) error {
	if b.SeenAt.IsZero() {
		b.SeenAt = time.Now()
	}
	if b.State == record.Calling || b.State == record.Unresolved {
		b.State = record.Running
	}
	return nil
}

// progress remembers when the exports last took anything in.
type progress struct {
	trace    trace
	at       time.Time
	lookedAt time.Time
}

// trace is what a copy leaves behind as it goes on: bytes on the wire and, because a user's service manager does not count
// those, the growth and the last change of the images.
type trace struct {
	received  uint64
	blocks    int64
	changedAt time.Time
}

func traceOf(b record.Backup, disks []record.DiskProgress) trace {
	var t trace
	for i, d := range b.Runs {
		t.received += disks[i].ReceivedBytes
		info, err := os.Stat(d.Image)
		if err != nil {
			continue // its exporter tells what has become of it
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			t.blocks += st.Blocks
		}
		if info.ModTime().After(t.changedAt) {
			t.changedAt = info.ModTime()
		}
	}
	return t
}

// checkDeadlines counts from a time of this process, which a clock that is set does not move. After a restart of the agent a
// deadline begins anew: late is better than a good run thrown away.
func (r *run) checkDeadlines(b record.Backup, p *progress) error {
	now, limits := time.Now(), r.service.Config.Deadlines
	if first := limits.FirstConnection.Std(); b.SeenAt.IsZero() && first > 0 && now.Sub(r.began) > first {
		if err := r.cameAndWent(b); err != nil {
			return err
		}
		e := fault.New(fault.DeadlinePassed, "backup %s: no client has connected within %s of the request to the SNA", b.ID, first)
		e.BackupID = b.ID
		e.Hint = "the SNA accepts a job before it logs in to vCenter. Read its log for the reason (deadlines.first_connection)"
		return e
	}
	if whole := limits.WholeRun.Std(); whole > 0 && now.Sub(r.began) > whole {
		e := fault.New(fault.DeadlinePassed, "backup %s: not done within %s", b.ID, whole)
		e.BackupID, e.Hint = b.ID, "raise deadlines.whole_run if the VM is large"
		return e
	}
	if err := r.checkSilence(b); err != nil {
		return err
	}
	if err := r.checkRoom(b); err != nil {
		return err
	}
	return r.checkProgress(b, p, now)
}

// checkRoom fails a run whose repository has filled up: qemu-nbd survives that and says nothing, and SBC gives up without
// a word to anybody.
func (r *run) checkRoom(b record.Backup) error {
	repo, err := r.service.Repositories.Find(b.Repository)
	if err != nil {
		return nil // the end will tell; the exporters write on meanwhile
	}
	err = repositories.CheckSpace(repo, r.service.Config.Space.Floor, "space.floor")
	if e := fault.From(err); e.Has(fault.NoSpace) {
		e.Message, e.BackupID = fmt.Sprintf("backup %s: %s", b.ID, e.Message), b.ID
		return e
	}
	return nil // a repository that does not answer for a moment is no reason to throw a copy away
}

func (r *run) checkProgress(b record.Backup, p *progress, now time.Time) error {
	limit := r.service.Config.Deadlines.NoProgress.Std()
	if limit <= 0 || b.SeenAt.IsZero() || now.Sub(p.lookedAt) < min(limit/10, 30*time.Second) {
		return nil
	}
	p.lookedAt = now
	ctx, cancel := context.WithTimeout(r.Ctx, export.BusTimeout)
	defer cancel()
	disks, err := r.service.sample(ctx, b)
	if err != nil {
		return nil // nothing is known, so nothing is concluded
	}
	if now := traceOf(b, disks); now != p.trace || p.at.IsZero() {
		p.trace, p.at = now, time.Now()
	}
	if now.Sub(p.at) <= limit {
		return nil
	}
	e := fault.New(fault.DeadlinePassed, "backup %s: no export has received data for %s, after %d bytes in total", b.ID, limit, p.trace.received)
	e.BackupID, e.Hint = b.ID, "read the backup client's log on the SNA (deadlines.no_progress)"
	return e
}
