package prune

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// A group applies the policies to the restore points of one VM in one repository.
type group struct {
	service   *Service
	group     store.PointGroup
	plan      retention.Plan
	repo      *storage.Repository // nil if it is no longer configured
	order     []string
	rows      map[string]*Point
	merges    []retention.Merging // of a dry run those that are planned, else those that are done
	deletions []string            // in the same way
	later     []laterMerge        // merges that wait for a reader or another merge
	postponed int                 // expired restore points that stay until the next prune
	grown     int64               // bytes by which merges made the kept restore points larger; of a dry run an estimate
	held      *record.HeldPrune   // nil unless the plan removes too much for a scheduled prune
	left      bool                // the prune is held and waits for a confirmation
}

func (p *group) add(d retention.Decision, b record.Backup) {
	row := &Point{
		BackupID: b.ID, VMName: b.VM.Name, Repository: b.Repository, Policy: d.Point.Policy, CreatedAt: b.CreatedAt,
		Action: d.Action, Reasons: d.Reasons, Into: d.Into, Misdated: d.Misdated, Synthetic: d.Synthetic,
	}
	p.order, p.rows[b.ID] = append(p.order, b.ID), row
	if repo, err := p.service.Repositories.Find(b.Repository); err == nil {
		p.repo = repo
		row.Bytes = p.usage(b.ID)
	}
}

// usage is how many bytes the directory of a restore point takes; 0 if its repository is not mounted.
func (p *group) usage(id string) int64 {
	if p.repo == nil {
		return 0
	}
	bytes, _ := p.repo.Usage(storage.FailFast(p.service.Jobs.Work), nbd.DirName(p.group.VM), id)
	return bytes
}

// A laterMerge is a merge that waits for a reader or for another merge of its chain.
type laterMerge struct {
	retention.Merging
	job *merge.Merge
}

// prunePatience is how long a prune, when all else is done, waits for the readers that its merges wait for.
const prunePatience = 30 * time.Second

// apply follows the plan, and does not wait for readers. After a merge that fails, its expired restore points stay, and the rest is done.
func (p *group) apply(ctx context.Context) {
	for _, w := range p.plan.Merges {
		failpoint.Reach("prune: before a merge")
		p.merge(ctx, w)
		failpoint.Reach("prune: merged")
	}
	p.remove(ctx)
}

// foresee notes what a prune would do, and which merges are known to fail.
func (p *group) foresee(ctx context.Context) {
	for _, w := range p.plan.Merges {
		grows, err := p.service.Merges.Foresee(storage.FailFast(ctx), w.ID, w.NewParent)
		if err != nil {
			p.fail(w, fault.From(err))
			continue
		}
		p.grown += grows
		p.merges = append(p.merges, w)
	}
	for _, id := range p.plan.Deletions {
		if p.rows[id].Failure == nil {
			p.deletions = append(p.deletions, id)
		}
	}
}

// merge merges one restore point. If the merge has to wait, its job continues on its own.
func (p *group) merge(ctx context.Context, w retention.Merging) {
	job, err := p.service.Merges.Launch(w.ID, w.NewParent)
	if err != nil {
		p.fail(w, fault.From(err))
		return
	}
	select {
	case <-job.Done:
		p.merged(w, job.Err)
	case <-job.Parked:
		p.later = append(p.later, laterMerge{w, job})
	case <-ctx.Done():
		p.fail(w, fault.From(ctx.Err()))
	}
}

// merged notes the result of a merge.
func (p *group) merged(w retention.Merging, err error) {
	if err != nil {
		p.fail(w, fault.From(err))
		return
	}
	p.merges = append(p.merges, w)
	p.grown += p.usage(w.ID) - p.rows[w.ID].Bytes
}

// remove deletes the expired restore points that do not wait for a merge.
func (p *group) remove(ctx context.Context) {
	for _, id := range p.plan.Deletions {
		row := p.rows[id]
		if row.Removed || row.Failure != nil || p.waitsFor(row) != "" || ctx.Err() != nil {
			continue
		}
		failpoint.Reach("prune: before a removal")
		err := p.service.Delete(ctx, id, false)
		failpoint.Reach("prune: removed")
		if err != nil {
			row.Failure = fault.From(err)
			p.service.Log.Error("an expired restore point cannot be removed", logkey.BackupID, id, logkey.Error, err)
			continue
		}
		row.Removed = true
		p.deletions = append(p.deletions, id)
	}
}

// comeBack waits for the merges that wait, until the deadline, and removes what they allow. The next prune does the rest.
func (p *group) comeBack(ctx context.Context, deadline time.Time) {
	if len(p.later) == 0 {
		return
	}
	late, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	left := p.later[:0]
	for _, l := range p.later {
		select {
		case <-l.job.Done:
			p.merged(l.Merging, l.job.Err)
		case <-late.Done():
			left = append(left, l)
		}
	}
	p.later = left
	release, free := p.service.pruning.claim(p.group)
	defer release()
	if free {
		p.remove(ctx)
	}
}

// waitsFor says what the removal of a restore point waits for; "" for nothing.
func (p *group) waitsFor(row *Point) string {
	for _, l := range p.later {
		if slices.Contains(row.Into, l.ID) {
			return fmt.Sprintf("its merge into %s waits for %s", l.ID, cmp.Or(l.job.WaitingFor(), "its turn"))
		}
	}
	return ""
}

// fail notes which expired restore points stay because a merge failed, and which does not become a full backup.
func (p *group) fail(w retention.Merging, err *fault.Error) {
	if row := p.rows[w.ID]; row.Synthetic {
		row.Failure = err
	}
	for _, id := range p.plan.Deletions {
		if row := p.rows[id]; row.Failure == nil && slices.Contains(row.Into, w.ID) {
			row.Failure = err
		}
	}
}

// postpone marks the expired restore points that were not removed, and did not fail, as waiting, with the reason.
func (p *group) postpone() {
	if p.left {
		return
	}
	for _, id := range p.plan.Deletions {
		row := p.rows[id]
		if row.Removed || row.Failure != nil {
			continue
		}
		why := cmp.Or(p.waitsFor(row), "another request is applying the policies to this VM")
		row.Action, row.Into, row.Reasons = retention.Wait, nil, append(row.Reasons, why)
		p.postponed++
		p.service.Log.Warn("an expired restore point waits for the next run", logkey.BackupID, id, logkey.Reason, why)
	}
}

// tell adds the results of the group to the report.
func (p *group) tell(report *Report, r Request) {
	if p.held != nil {
		report.Held = append(report.Held, *p.held)
	}
	report.Merged += len(p.merges)
	report.FreedBytes -= p.grown
	for _, id := range p.order {
		row := p.rows[id]
		switch {
		case slices.Contains(p.deletions, id):
			report.Removed++
			report.FreedBytes += row.Bytes
		case row.Failure != nil:
			report.Failed++
			fallthrough
		default:
			report.Kept++
		}
		if row.Misdated != "" && !r.DryRun {
			p.service.Log.Warn("a restore point counts for no retention rule, because a wrong clock dated it", logkey.BackupID, id, logkey.VM, row.VMName,
				logkey.Repository, row.Repository, "created_at", row.CreatedAt, logkey.Reason, row.Misdated)
		}
		if r.All || row.Action != retention.Keep || row.Synthetic || row.Misdated != "" {
			report.Points = append(report.Points, *row)
		}
	}
}
