package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/store"
)

// PruneRequest asks that the policies be applied.
type PruneRequest struct {
	VMName     string // "" = every VM
	Repository string // "" = every repository
	DryRun     bool   // only say what would be done
	All        bool   // tell of what is kept, too
	Scheduled  bool   // nobody looks: what would remove too much at once is held
}

// A PruneReport is what was done, or would be.
type PruneReport struct {
	Points     []PrunedPoint // by VM and repository, the newest first
	Kept       int           // restore points that stay, waiting ones included
	Removed    int           // that were removed, or would be
	Merged     int           // restore points that took in what others held, or would
	Failed     int           // that should have been removed and were not
	FreedBytes int64         // room that the removed ones took, less what others grew by; of a dry run the most that it may be
	Held       []HeldPrune   // what a scheduled run has left to a person; of a dry run what it would
}

// A HeldPrune is what a scheduled run leaves to a person, because it would remove too many restore points of a VM in a repository
// at once.
type HeldPrune struct {
	VMName, Repository string
	Removed            int       // restore points that it would remove
	Points             int       // restore points that there are
	Since              time.Time // when it was first held
}

// PrunedPoint is what becomes of one restore point, and why.
type PrunedPoint struct {
	BackupID, VMName, Repository string
	Policy                       string // that it belongs to; "" = none
	CreatedAt                    time.Time
	Action                       retention.Action
	Reasons                      []string
	Into                         []string // of a merge: what takes in what it holds
	Misdated                     string   // why its date cannot be right; "" = nothing speaks against it
	Bytes                        int64    // that its directory takes on the disk
	Removed                      bool
	Failure                      *Error // why it could not be removed
}

// Prune applies the policies: what they keep no longer is removed, as docs/decisions/0018-retention.md says. One at a time does it
// to the restore points of a VM in a repository, and one at a time to everything. The error is for a request that cannot be met
// at all; what fails with one restore point is in the report, and the rest is done. It goes on whatever becomes of ctx.
func (a *Agent) Prune(ctx context.Context, r PruneRequest) (PruneReport, error) {
	groups, err := a.pruneGroups(r)
	if err != nil {
		return PruneReport{}, err
	}
	if r.DryRun {
		return a.prune(a.jobs.work, groups, r)
	}
	release, err := a.pruning.begin(groups, r)
	if err != nil {
		return PruneReport{}, err
	}
	var report PruneReport
	done := make(chan error, 1)
	err = a.jobs.spawn(func() {
		defer release()
		var err error
		report, err = a.prune(a.jobs.work, groups, r)
		done <- err
	})
	if err != nil {
		release()
		return PruneReport{}, err
	}
	select {
	case err := <-done:
		return report, err
	case <-ctx.Done():
		return PruneReport{}, ctx.Err()
	}
}

// pruneGroups are the VMs in repositories that a request is about.
func (a *Agent) pruneGroups(r PruneRequest) ([]store.PointGroup, error) {
	if r.Repository != "" {
		if _, err := a.findRepository(r.Repository); err != nil {
			return nil, err
		}
	}
	all, err := a.store.PointGroups()
	if err != nil {
		return nil, AsError(err)
	}
	groups := slices.DeleteFunc(all, func(g store.PointGroup) bool {
		_, err := a.findRepository(g.Repository) // of one that is not configured any more nothing is touched
		return err != nil || r.VMName != "" && g.VM != r.VMName || r.Repository != "" && g.Repository != r.Repository
	})
	if r.VMName != "" && len(groups) == 0 {
		if _, err := a.VM(r.VMName); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// prune applies the policies to some groups. A run over everything is written down.
func (a *Agent) prune(ctx context.Context, groups []store.PointGroup, r PruneRequest) (PruneReport, error) {
	start := time.Now()
	pruners, err := a.pruneAll(ctx, groups, r)
	var report PruneReport
	postponed := 0
	for _, p := range pruners {
		if !r.DryRun && err == nil {
			p.postpone()
			postponed += p.postponed
		}
		p.tell(&report, r)
	}
	if r.DryRun {
		return report, err
	}
	a.metrics.pruned(report.Removed, report.Failed, report.FreedBytes, err)
	if err != nil {
		return report, err
	}
	a.log.Info("policies were applied", "removed", report.Removed, "kept", report.Kept, "freed_bytes", report.FreedBytes,
		"failed", report.Failed, "held", len(report.Held), "postponed", postponed, "took", time.Since(start))
	if r.everything() {
		if err := a.store.SetPruned(start); err != nil {
			return report, AsError(err)
		}
		failpoint.Reach("prune: written down")
	}
	return report, nil
}

// pruneAll applies the policies to one group after another. What has to wait for somebody is left for later, so that a restore
// of one VM keeps the others from nothing; it is tried again when the others are done.
func (a *Agent) pruneAll(ctx context.Context, groups []store.PointGroup, r PruneRequest) (pruners []*pruner, err error) {
	for _, g := range groups {
		p, err := a.pruneGroup(ctx, g, r)
		if p != nil {
			pruners = append(pruners, p)
		}
		if err != nil {
			return pruners, err
		}
	}
	for deadline, i := time.Now().Add(prunePatience), 0; i < len(pruners) && !r.DryRun; i++ {
		pruners[i].comeBack(ctx, deadline)
	}
	return pruners, context.Cause(ctx)
}

// pruneGroup applies the policies to the restore points of one VM in one repository.
func (a *Agent) pruneGroup(ctx context.Context, g store.PointGroup, r PruneRequest) (*pruner, error) {
	free := false
	if !r.DryRun {
		var release func()
		release, free = a.pruning.claim(g)
		defer release()
	}
	set, points, err := a.pruneSet(g)
	if err != nil {
		return nil, err
	}
	plan := set.Plan()
	p := &pruner{agent: a, group: g, plan: plan, rows: map[string]*PrunedPoint{}}
	for _, d := range plan.Decisions {
		p.add(d, points[d.Point.ID])
	}
	if plan.Held && (r.DryRun || r.Scheduled) {
		p.held = &HeldPrune{g.VM, g.Repository, len(plan.Deletions), len(set.Points), set.Now}
	}
	switch {
	case r.DryRun:
		p.merges, p.deletions = plan.Merges, plan.Deletions
	case r.Scheduled && plan.Held:
		p.left, err = true, a.holdPrune(*p.held)
	case free: // otherwise another request does the same at this moment
		p.apply(ctx)
		err = a.store.ReleasePrune(g)
	}
	return p, errors.Join(err, context.Cause(ctx))
}

// pruneSet is what the policies are applied to.
func (a *Agent) pruneSet(g store.PointGroup) (retention.Set, map[string]record.Backup, error) {
	zone, err := a.config.Prune.Zone()
	if err != nil {
		return retention.Set{}, nil, AsError(err)
	}
	list, err := a.store.PointsOf(g)
	if err != nil {
		return retention.Set{}, nil, AsError(err)
	}
	set := retention.Set{
		Policies: policies(a.config.Policies), Held: map[string]string{}, Now: time.Now(), Zone: zone,
		MostRemoved: float64(a.config.Prune.HoldAbovePercent) / 100,
	}
	points := map[string]record.Backup{}
	for _, b := range list {
		points[b.ID] = b
		set.Points = append(set.Points, retention.Point{
			ID: b.ID, Parent: b.Parent, Sequence: b.Sequence, CreatedAt: b.CreatedAt, Policy: a.policyOf(b), Damaged: damagedPoint(b),
		})
	}
	for _, b := range list {
		if b.Merge != nil {
			hold(set.Held, points, b, fmt.Sprintf("backup %s is being written anew", b.ID))
		}
	}
	return set, points, a.holdRead(g, &set, points)
}

// policyOf is the policy that a restore point belongs to: the one that was asked for, or else its repository's.
func (a *Agent) policyOf(b record.Backup) string {
	if b.Policy != "" {
		return b.Policy
	}
	for _, r := range a.config.Repositories {
		if r.ID == b.Repository {
			return r.Policy
		}
	}
	return ""
}

// damagedPoint says what was found wrong with a restore point, or what it stands on, so that it counts for no rule of a policy; "" for nothing.
func damagedPoint(b record.Backup) string {
	if found := b.Damage(); len(found) > 0 {
		return found[0].Problem
	}
	if len(b.DamageBelow) > 0 {
		return fmt.Sprintf("stands on %s, which is damaged", b.DamageBelow[0])
	}
	return ""
}

// holdRead notes what is read now: it cannot be removed.
func (a *Agent) holdRead(g store.PointGroup, set *retention.Set, points map[string]record.Backup) error {
	restores, err := a.store.ActiveRestores()
	if err != nil {
		return AsError(err)
	}
	for _, r := range restores {
		for _, id := range r.Points {
			set.Held[id] = fmt.Sprintf("restore %s reads it", r.ID)
		}
	}
	active, err := a.store.Active()
	if err != nil {
		return AsError(err)
	}
	for _, b := range active {
		if b.VM.Name == g.VM && b.Repository == g.Repository {
			hold(set.Held, points, points[b.Parent], fmt.Sprintf("backup %s is made upon it", b.ID))
		}
	}
	return nil
}

// hold notes a restore point and all it stands on.
func hold(held map[string]string, points map[string]record.Backup, b record.Backup, why string) {
	for range len(points) + 1 {
		if b.ID == "" {
			return
		}
		held[b.ID] = why
		b = points[b.Parent]
	}
}

// policies are those of the configuration as package retention has them.
func policies(list []config.Policy) map[string]retention.Policy {
	byID := map[string]retention.Policy{}
	for _, p := range list {
		byID[p.ID] = retention.Policy{
			Last: p.KeepLast, Hourly: p.KeepHourly, Daily: p.KeepDaily, Weekly: p.KeepWeekly, Monthly: p.KeepMonthly,
			Yearly: p.KeepYearly, Within: p.KeepWithin.Std(), MinAge: p.MinAge.Std(), Merge: p.Merges(),
		}
	}
	return byID
}

// checkPolicy refuses a start for a policy that is not there. Where no policy is configured at all, a policy_id is the caller's own
// mark, as it has been before there were policies.
func (a *Agent) checkPolicy(id string) error {
	if id == "" || len(a.config.Policies) == 0 {
		return nil
	}
	var ids []string
	for _, p := range a.config.Policies {
		if p.ID == id {
			return nil
		}
		ids = append(ids, p.ID)
	}
	e := errorf(InvalidRequest, "policy_id %q: no such policy is configured: want one of %q", id, ids)
	e.Hint = "add a [[policy]] of that id to the configuration and restart the daemon, or leave policy_id out for that of the repository"
	return e
}
