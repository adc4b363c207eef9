package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// A pruner applies a plan.
type pruner struct {
	agent     *Agent
	group     store.PointGroup
	plan      retention.Plan
	repo      *repository.Repository // nil if it is not configured any more
	order     []string
	rows      map[string]*PrunedPoint
	merges    []retention.Merging // that are planned, or were done
	deletions []string            // as well
	later     []laterMerge        // that wait for somebody
	postponed int                 // restore points that stay until the next run
	grown     int64               // bytes that merges added to what stays
	held      *HeldPrune          // nil unless the plan removes too much for a scheduled run
	left      bool                // to a person, for that reason
}

func (p *pruner) add(d retention.Decision, b record.Backup) {
	row := &PrunedPoint{
		BackupID: b.ID, VMName: b.VM.Name, Repository: b.Repository, Policy: d.Point.Policy, CreatedAt: b.CreatedAt,
		Action: d.Action, Reasons: d.Reasons, Into: d.Into, Misdated: d.Misdated,
	}
	p.order, p.rows[b.ID] = append(p.order, b.ID), row
	if repo, err := p.agent.findRepository(b.Repository); err == nil {
		p.repo = repo
		row.Bytes = p.usage(b.ID)
	}
}

// usage is what the directory of a restore point takes; 0 of a repository that is away.
func (p *pruner) usage(id string) int64 {
	if p.repo == nil {
		return 0
	}
	bytes, _ := p.repo.Usage(nbd.DirName(p.group.VM), id)
	return bytes
}

// A laterMerge is one that waits, for a reader or for another rewriting of its chain.
type laterMerge struct {
	retention.Merging
	job *rewriting
}

// prunePatience is how long a run waits, once all else is done, for those who read what it would change.
const prunePatience = 30 * time.Second

// apply does what is planned, and waits for nobody. What a failed step was for stays, and the rest is done.
func (p *pruner) apply(ctx context.Context) {
	for _, w := range p.plan.Merges {
		failpoint.Reach("prune: before a merge")
		p.merge(ctx, w)
		failpoint.Reach("prune: merged")
	}
	p.remove(ctx)
}

// merge puts a restore point on other ground. When somebody has to be waited for, the work goes on by itself.
func (p *pruner) merge(ctx context.Context, w retention.Merging) {
	job, err := p.agent.launchRewrite(w.ID, w.NewParent)
	if err != nil {
		p.fail(w, AsError(err))
		return
	}
	select {
	case <-job.done:
		p.merged(w, job.err)
	case <-job.parked:
		p.later = append(p.later, laterMerge{w, job})
	case <-ctx.Done():
		p.fail(w, AsError(ctx.Err()))
	}
}

func (p *pruner) merged(w retention.Merging, err error) {
	if err != nil {
		p.fail(w, AsError(err))
		return
	}
	p.merges = append(p.merges, w)
	p.grown += p.usage(w.ID) - p.rows[w.ID].Bytes
}

// remove deletes what is expired and does not wait for a merge.
func (p *pruner) remove(ctx context.Context) {
	for _, id := range p.plan.Deletions {
		row := p.rows[id]
		if row.Removed || row.Failure != nil || p.waitsFor(row) != "" || ctx.Err() != nil {
			continue
		}
		failpoint.Reach("prune: before a removal")
		err := p.agent.DeleteBackup(ctx, id, false)
		failpoint.Reach("prune: removed")
		if err != nil {
			row.Failure = AsError(err)
			p.agent.log.Error("an expired restore point cannot be removed", logBackupID, id, logError, err)
			continue
		}
		row.Removed = true
		p.deletions = append(p.deletions, id)
	}
}

// comeBack does what had to wait, as far as those whom it waited for have ended until the deadline. The rest is for the next run.
func (p *pruner) comeBack(ctx context.Context, deadline time.Time) {
	if len(p.later) == 0 {
		return
	}
	late, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	left := p.later[:0]
	for _, l := range p.later {
		select {
		case <-l.job.done:
			p.merged(l.Merging, l.job.err)
		case <-late.Done():
			left = append(left, l)
		}
	}
	p.later = left
	release, free := p.agent.pruning.claim(p.group)
	defer release()
	if free {
		p.remove(ctx)
	}
}

// waitsFor says for whom the removal of a restore point waits; "" for nobody.
func (p *pruner) waitsFor(row *PrunedPoint) string {
	for _, l := range p.later {
		if slices.Contains(row.Into, l.ID) {
			return fmt.Sprintf("its merge into %s waits for %s", l.ID, cmp.Or(l.job.waitingFor(), "its turn"))
		}
	}
	return ""
}

// fail notes what cannot go because a restore point could not be put on other ground.
func (p *pruner) fail(w retention.Merging, err *Error) {
	for _, id := range p.plan.Deletions {
		if row := p.rows[id]; row.Failure == nil && slices.Contains(row.Into, w.ID) {
			row.Failure = err
		}
	}
}

// postpone turns what should go and is there, and did not fail, into what waits, with the reason.
func (p *pruner) postpone() {
	if p.left {
		return
	}
	for _, id := range p.plan.Deletions {
		row := p.rows[id]
		if row.Removed || row.Failure != nil {
			continue
		}
		why := cmp.Or(p.waitsFor(row), "another request applies the policies to this VM")
		row.Action, row.Into, row.Reasons = retention.Wait, nil, append(row.Reasons, why)
		p.postponed++
		p.agent.log.Warn("an expired restore point waits for the next run", logBackupID, id, logReason, why)
	}
}

// tell adds what has become of the group to the report.
func (p *pruner) tell(report *PruneReport, r PruneRequest) {
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
			p.agent.log.Warn("a restore point counts for no rule, because a wrong clock dated it", logBackupID, id, logVM, row.VMName,
				logRepository, row.Repository, "created_at", row.CreatedAt, logReason, row.Misdated)
		}
		if r.All || row.Action != retention.Keep || row.Misdated != "" {
			report.Points = append(report.Points, *row)
		}
	}
}
