package agent

import (
	"context"
	"slices"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// A pruner applies a plan.
type pruner struct {
	agent     *Agent
	group     store.PointGroup
	repo      *repository.Repository // nil if it is not configured any more
	order     []string
	rows      map[string]*PrunedPoint
	merges    []retention.Rewrite // that are planned, or were done
	deletions []string            // as well
	grown     int64               // bytes that merges added to what stays
}

func (p *pruner) add(d retention.Decision, b backup.Backup) {
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

// apply does what is planned. What a failed step was for stays, and the rest is done.
func (p *pruner) apply(ctx context.Context, plan retention.Plan) {
	for _, w := range plan.Rewrites {
		failpoint.Reach("prune: before a merge")
		err := p.agent.rewrite(ctx, w.ID, w.Onto)
		failpoint.Reach("prune: merged")
		if err != nil {
			p.fail(plan, w, AsError(err))
			continue
		}
		p.merges = append(p.merges, w)
		p.grown += p.usage(w.ID) - p.rows[w.ID].Bytes
	}
	for _, id := range plan.Deletions {
		row := p.rows[id]
		if row.Failure != nil || ctx.Err() != nil {
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

// fail notes what cannot go because a restore point could not be put on other ground.
func (p *pruner) fail(plan retention.Plan, w retention.Rewrite, err *Error) {
	for _, id := range plan.Deletions {
		if row := p.rows[id]; row.Failure == nil && slices.Contains(row.Into, w.ID) {
			row.Failure = err
		}
	}
}

// tell adds what has become of the group to the report.
func (p *pruner) tell(report *PruneReport, r PruneRequest) {
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
