// Package prune applies the retention policies: it deletes the restore points that no policy keeps, and merges those in the middle of a
// chain. It also deletes a backup on request. Package retention decides which restore points a policy keeps.
package prune

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/verify"
)

// Parts are what a Service works with.
type Parts struct {
	Config        *config.Config
	Store         *store.Store
	Records       *ledger.Ledger
	Repositories  *repositories.Set
	Gate          *admission.Gate
	Inventory     *inventory.Inventory
	Verifications *verify.Service
	Merges        *merge.Service
	Catalog       *catalog.Watcher
	Jobs          *job.Group
	Log           *slog.Logger
	Metrics       *metrics.Counters
	Watchers      *events.Watchers
}

// A Service applies policies and deletes backups. Its methods may be called from any goroutine.
type Service struct {
	Parts
	pruning   pruning
	applied   applied
	deletions singleflight.Group // by backup id
}

// New returns a Service.
func New(p Parts) *Service { return &Service{Parts: p} }

// Request asks for a prune.
type Request struct {
	VMName     string // "" = every VM
	Repository string // "" = every repository
	DryRun     bool   // only report what a prune would do
	All        bool   // also report what is kept
	Scheduled  bool   // no person started it: a prune that would remove too much at once is held
}

// A Report is what a prune did; of a dry run, what it would do.
type Report struct {
	Points     []Point            // by VM and repository, the newest first
	Kept       int                // restore points that stay, waiting ones included
	Removed    int                // restore points that were removed, or would be
	Merged     int                // restore points that others were merged into, or would be
	Failed     int                // restore points that should have been removed and were not; of a dry run those that cannot be
	FreedBytes int64              // bytes of the removed ones, less what others grew by; of a dry run an estimate
	Held       []record.HeldPrune // prunes that are held; of a dry run those that a scheduled prune would hold
	Parts      []Part             // the repositories, in the order of the configuration
}

// Point is what a prune does with one restore point, and why.
type Point struct {
	BackupID, VMName, Repository string
	Policy                       string // that it belongs to; "" = none
	CreatedAt                    time.Time
	Action                       retention.Action
	Reasons                      []string
	Into                         []string // of a merge: the restore points it is merged into
	Synthetic                    bool     // it becomes a full backup, because its chain is too long
	Misdated                     string   // why its date cannot be right; "" = it can
	Bytes                        int64    // that its directory takes on the disk
	Removed                      bool
	Failure                      *fault.Error // why it could not be removed
}

// Prune applies the policies: it removes what they no longer keep (docs/decisions/0018-retention-and-merge.md). One prune of the same VM
// in the same repository runs at a time, and one prune of a whole repository. Each repository has its own line: the part of one that is
// paused, or does not answer, says so, and the others are done. The error is for a request that fails as a whole. A failure with one
// restore point is in the report, and the rest is done. The prune continues when ctx ends.
func (s *Service) Prune(ctx context.Context, r Request) (Report, error) {
	groups, err := s.pruneGroups(r)
	if err != nil {
		return Report{}, err
	}
	lines := s.lines(groups, r)
	var busy []*line
	if !r.DryRun {
		if lines, busy, err = s.pruning.begin(lines, r); err != nil {
			return Report{}, err
		}
	}
	done := make(chan Report, 1)
	if err := s.Jobs.Spawn(func() { done <- runLines(lines, busy) }); err != nil {
		for _, l := range lines {
			l.release()
		}
		return Report{}, err
	}
	select {
	case report := <-done:
		return report, report.err()
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
}

// pruneGroups lists the VMs, each in one repository, that a request is for.
func (s *Service) pruneGroups(r Request) ([]store.PointGroup, error) {
	if r.Repository != "" {
		if _, err := s.Repositories.Find(r.Repository); err != nil {
			return nil, err
		}
	}
	all, err := s.Store.PointGroups()
	if err != nil {
		return nil, fault.From(err)
	}
	groups := slices.DeleteFunc(all, func(g store.PointGroup) bool {
		_, err := s.Repositories.Find(g.Repository) // nothing is changed in a repository that is no longer configured
		return err != nil || r.VMName != "" && g.VM != r.VMName || r.Repository != "" && g.Repository != r.Repository
	})
	if r.VMName != "" && len(groups) == 0 {
		if _, err := s.Inventory.Get(r.VMName); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// pruneAll applies the policies to one group of a line after another. Merges that have to wait are left for the end, so that a restore of
// one VM does not delay the others. It stops when the repository is closed.
func (s *Service) pruneAll(ctx context.Context, l *line) (pruners []*group, err error) {
	for _, g := range l.groups {
		if err := l.check(); err != nil {
			return pruners, err
		}
		p, err := s.pruneGroup(ctx, g, l.request)
		if p != nil {
			pruners = append(pruners, p)
		}
		if err != nil {
			return pruners, err
		}
	}
	for deadline, i := time.Now().Add(prunePatience), 0; i < len(pruners) && !l.request.DryRun; i++ {
		pruners[i].comeBack(ctx, deadline)
	}
	return pruners, context.Cause(ctx)
}

// pruneGroup applies the policies to the restore points of one VM in one repository.
func (s *Service) pruneGroup(ctx context.Context, g store.PointGroup, r Request) (*group, error) {
	free := false
	if !r.DryRun {
		var release func()
		release, free = s.pruning.claim(g)
		defer release()
	}
	set, points, err := s.pruneSet(g)
	if err != nil {
		return nil, err
	}
	plan := set.Plan()
	p := &group{service: s, group: g, plan: plan, rows: map[string]*Point{}}
	for _, d := range plan.Decisions {
		p.add(d, points[d.Point.ID])
	}
	if plan.Held && (r.DryRun || r.Scheduled) {
		p.held = &record.HeldPrune{VMName: g.VM, Repository: g.Repository, Removed: len(plan.Deletions), Points: len(set.Points), Since: set.Now}
	}
	switch {
	case r.DryRun:
		p.foresee(ctx)
	case r.Scheduled && plan.Held:
		p.left, err = true, s.holdPrune(*p.held)
	case free: // otherwise another request is doing the same
		p.apply(ctx)
		err = s.Store.ReleasePrune(g)
	}
	return p, errors.Join(err, context.Cause(ctx))
}

// pruneSet is the input of the policies for one group.
func (s *Service) pruneSet(g store.PointGroup) (retention.Set, map[string]record.Backup, error) {
	zone, err := s.Config.Prune.Zone()
	if err != nil {
		return retention.Set{}, nil, fault.From(err)
	}
	list, err := s.Store.PointsOf(g)
	if err != nil {
		return retention.Set{}, nil, fault.From(err)
	}
	set := retention.Set{
		Policies: policies(s.Config.Policies), Held: map[string]string{}, Now: time.Now(), Zone: zone,
		MaxRemoved: float64(s.Config.Prune.HoldAbovePercent) / 100,
	}
	points := map[string]record.Backup{}
	for _, b := range list {
		points[b.ID] = b
		set.Points = append(set.Points, retention.Point{
			ID: b.ID, Parent: b.Parent, Sequence: b.Sequence, CreatedAt: b.CreatedAt, Policy: s.policyOf(b), Damaged: damagedPoint(b),
		})
	}
	for _, b := range list {
		if b.Merge != nil {
			hold(set.Held, points, b, fmt.Sprintf("a merge of backup %s is in progress", b.ID))
		}
	}
	return set, points, s.holdRead(g, &set, points)
}

// policyOf is the policy of a restore point: the one of its request, or else that of its repository.
func (s *Service) policyOf(b record.Backup) string {
	if b.Policy != "" {
		return b.Policy
	}
	for _, r := range s.Config.Repositories {
		if r.ID == b.Repository {
			return r.Policy
		}
	}
	return ""
}

// damagedPoint says what damage a restore point has, or which damaged one it is based on, so that it counts for no rule; "" for none.
func damagedPoint(b record.Backup) string {
	if found := b.Damage(); len(found) > 0 {
		return found[0].Problem
	}
	if len(b.DamageBelow) > 0 {
		return fmt.Sprintf("based on %s, which is damaged", b.DamageBelow[0])
	}
	return ""
}

// holdRead notes which restore points are in use by restores and active backups: they cannot be removed.
func (s *Service) holdRead(g store.PointGroup, set *retention.Set, points map[string]record.Backup) error {
	restores, err := s.Store.ActiveRestores()
	if err != nil {
		return fault.From(err)
	}
	for _, r := range restores {
		for _, id := range r.Points {
			set.Held[id] = fmt.Sprintf("in use by restore %s", r.ID)
		}
	}
	active, err := s.Store.Active()
	if err != nil {
		return fault.From(err)
	}
	for _, b := range active {
		if b.VM.Name == g.VM && b.Repository == g.Repository {
			hold(set.Held, points, points[b.Parent], fmt.Sprintf("parent of the active backup %s", b.ID))
		}
	}
	return nil
}

// hold notes that a restore point, and all it is based on, cannot be removed, and why.
func hold(held map[string]string, points map[string]record.Backup, b record.Backup, why string) {
	for range len(points) + 1 {
		if b.ID == "" {
			return
		}
		held[b.ID] = why
		b = points[b.Parent]
	}
}

// policies converts the policies of the configuration to those of package retention.
func policies(list []config.Policy) map[string]retention.Policy {
	byID := map[string]retention.Policy{}
	for _, p := range list {
		byID[p.ID] = retention.Policy{
			Last: p.KeepLast, Hourly: p.KeepHourly, Daily: p.KeepDaily, Weekly: p.KeepWeekly, Monthly: p.KeepMonthly,
			Yearly: p.KeepYearly, Within: p.KeepWithin.Std(), MinAge: p.MinAge.Std(), Merge: p.Merges(), MaxChain: p.MaxChain,
		}
	}
	return byID
}
