package translate

import (
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

// PruneRequest is the agent's request for a prune.
func PruneRequest(w rpc.PruneRequest) prune.Request {
	return prune.Request{VMName: w.VMName, Repository: w.RepositoryID, DryRun: w.DryRun, All: w.All}
}

// PruneReport is the report of a prune on the wire.
func PruneReport(r prune.Report, dryRun bool) rpc.PruneReport {
	w := rpc.PruneReport{
		DryRun: dryRun, Points: make([]rpc.PrunedPoint, 0, len(r.Points)), KeptCount: r.Kept, RemovedCount: r.Removed,
		Held: HeldPrunes(r.Held), MergedCount: r.Merged, FailedCount: r.Failed, FreedBytes: r.FreedBytes,
	}
	for _, p := range r.Points {
		w.Points = append(w.Points, rpc.PrunedPoint{
			BackupID: p.BackupID, VMName: p.VMName, RepositoryID: p.Repository, PolicyID: p.Policy, CreatedAt: p.CreatedAt.UTC(),
			Synthetic: p.Synthetic, Misdated: p.Misdated, Action: rpc.PruneAction(p.Action), Reasons: p.Reasons, Into: p.Into, Bytes: p.Bytes, Removed: p.Removed,
			Failure: failure(p.Failure.Failure()),
		})
	}
	for _, p := range r.Parts {
		w.Repositories = append(w.Repositories, rpc.PrunedRepository{
			RepositoryID: p.Repository, Complete: p.Failure == nil, Failure: failure(p.Failure.Failure()),
		})
	}
	return w
}

// HeldPrunes are held prunes on the wire.
func HeldPrunes(list []record.HeldPrune) (w []rpc.HeldPrune) {
	for _, h := range list {
		w = append(w, rpc.HeldPrune{
			VMName: h.VMName, RepositoryID: h.Repository, RemovedCount: h.Removed, PointCount: h.Points, Since: h.Since.UTC(),
		})
	}
	return w
}
