// Package restore serves restore points over NBD, read-only or on scratch overlays, and reads single files from them. It changes no
// restore point.
package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/verify"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Service works with.
type Parts struct {
	Config        *config.Config
	Store         *store.Store
	Records       *ledger.Ledger
	Repositories  *repositories.Set
	Exports       *export.Manager
	Ports         *export.Ports
	Admission     *admission.Control
	Chains        *chain.Chains
	Verifications *verify.Service
	Merges        *merge.Service
	Backups       *backup.Service
	Units         *units.Manager
	Jobs          *job.Group
	Log           *slog.Logger
	Watchers      *events.Watchers
	Program       string // path of the agent's own executable, which reads files too
}

// A Service serves restore points. Its methods may be called from any goroutine.
type Service struct {
	Parts
	active *job.Set[*restoreJob] // one for every active restore
}

// New returns a Service without jobs.
func New(p Parts) *Service { return &Service{Parts: p, active: job.NewSet[*restoreJob](p.Jobs)} }

// Request asks to serve a restore point.
type Request struct {
	BackupID string
	Disks    []int         // disk ids; none = every disk of the restore point
	Writable bool          // clients write into scratch overlays, which are removed at the end
	Lifetime time.Duration // 0 = as configured
	Files    bool          // single files of one disk are read; the restore ends when no client reads any more

	DespiteDamage bool // serve what can still be read of a damaged restore point
	VerifyDigests bool // first read every image completely and compare it with its digest

	RequestID string // the caller's own label: a repeated one gets the first answer
}

// Start serves a restore point over NBD, with one export per disk. It returns when every export has answered a handshake, or when
// everything is undone. The restore or its undo continues if ctx ends.
func (s *Service) Start(ctx context.Context, req Request) (record.Restore, error) {
	p, err := s.plan(req)
	if err != nil {
		return record.Restore{}, err
	}
	var j *restoreJob
	err = s.Merges.RetryWhileSwapping(func() (err error) {
		j, err = s.admit(p)
		return err
	})
	var again *store.RestoreRequestedError
	if errors.As(err, &again) {
		return s.again(ctx, again.Restore)
	}
	if err != nil {
		return record.Restore{}, restoreRefused(err, p)
	}
	return s.await(ctx, j)
}

func (s *Service) await(ctx context.Context, j *restoreJob) (record.Restore, error) {
	if err := j.Await(ctx); err != nil {
		return record.Restore{}, err
	}
	return s.Records.Restore(j.ID)
}

// again answers a repeated request with the outcome of the first one. If that is still being started, it waits.
func (s *Service) again(ctx context.Context, first record.Restore) (record.Restore, error) {
	j, err := s.waitJob(ctx, first.ID)
	if err != nil {
		return record.Restore{}, err
	}
	if j != nil {
		return s.await(ctx, j)
	}
	return s.Records.Restore(first.ID)
}

// plan checks everything that can be known before anything changes.
func (s *Service) plan(req Request) (p store.RestorePreparation, err error) {
	point, err := s.Records.Backup(req.BackupID)
	if err != nil {
		return p, err
	}
	if point.State != record.Completed {
		return p, fault.New(fault.WrongState, "backup %s is %s: only a completed backup is a restore point", point.ID, point.State).OfBackup(point.ID)
	}
	repo, err := s.Repositories.Find(point.Repository)
	if err != nil {
		return p, err
	}
	if err := s.Admission.Gate.Check(repo.ID); err != nil {
		return p, err
	}
	if req.RequestID != "" {
		if err := record.ValidName("request_id", req.RequestID); err != nil {
			return p, fault.New(fault.InvalidRequest, "%w", err)
		}
	}
	disks, err := chooseDisks(point, req.Disks)
	if err != nil {
		return p, err
	}
	if err := s.checkFiles(req, disks); err != nil {
		return p, err
	}
	life, err := s.lifetime(req.Lifetime)
	if err != nil {
		return p, err
	}
	if req.Writable {
		if err := repositories.CheckSpace(storage.FailFast(s.Jobs.Work), repo, s.Config.Space.Reserve, "space.reserve"); err != nil {
			return p, err
		}
	}
	now := time.Now()
	return store.RestorePreparation{
		Restore: record.Restore{
			BackupID: point.ID, VMName: point.VM.Name, Repository: repo.ID, Writable: req.Writable, Disks: disks,
			DespiteDamage: req.DespiteDamage, VerifyDigests: req.VerifyDigests,
			ExpiresAt: now.Add(life), LatestAt: now.Add(s.Config.Restore.MaxLifetime.Std()), RequestID: req.RequestID,
		},
		Now: now, Limit: s.Config.Limits.MaxRestores, Ports: s.Ports.Choose,
		ID: func(unix int64) string { return nbd.RestoreID(point.VM.Name, unix) },
		Complete: func(r *record.Restore, leases []record.Lease) {
			nameExports(r, repo, point, leases)
			if req.Files {
				s.nameReader(r, leases[0])
			}
		},
	}, nil
}

// chooseDisks returns the requested disks of a restore point, in the order of the restore point.
func chooseDisks(point record.Backup, ids []int) ([]record.RestoreDisk, error) {
	for i, id := range ids {
		if point.Run(id) == nil {
			return nil, fault.New(fault.InvalidRequest, "backup %s has no disk %d", point.ID, id).OfBackup(point.ID).
				WithHint("backup.get lists its disks")
		}
		if slices.Contains(ids[:i], id) {
			return nil, fault.New(fault.InvalidRequest, "disk %d is listed twice", id)
		}
	}
	var disks []record.RestoreDisk
	for i, run := range point.Runs {
		if len(ids) > 0 && !slices.Contains(ids, run.DiskID) {
			continue
		}
		disks = append(disks, record.RestoreDisk{
			DiskID: run.DiskID, Key: run.Key, Label: point.VM.Disks[i].Label, CapacityBytes: run.CapacityBytes,
		})
	}
	return disks, nil
}

func (s *Service) lifetime(asked time.Duration) (time.Duration, error) {
	most := s.Config.Restore.MaxLifetime.Std()
	switch {
	case asked == 0:
		return s.Config.Restore.Lifetime.Std(), nil
	case asked < 0 || asked > most:
		return 0, fault.New(fault.InvalidRequest, "lifetime %s: want more than 0 and at most %s", asked, most).
			WithHint("the limit is restore.max_lifetime of the configuration")
	}
	return asked, nil
}

// nameExports sets the names of exports and units. The name of an export includes the id of the restore, so that no client of a
// backup or of an earlier restore takes it for its own.
func nameExports(r *record.Restore, repo *storage.Repository, point record.Backup, leases []record.Lease) {
	if r.Writable {
		r.Directory = repo.ScratchDir(r.ID)
	}
	for i, l := range leases {
		d := &r.Disks[i]
		d.ExportName = fmt.Sprintf("%s-disk%d", r.ID, d.DiskID)
		d.Unit = export.UnitName(r.ID, d.DiskID, l.Nonce)
		nameImage(r, d, repo, point)
	}
}

// admit puts a restore on record and launches its job, if there is room.
func (s *Service) admit(p store.RestorePreparation) (*restoreJob, error) {
	if err := s.Admission.Turn.Acquire(s.Jobs.Work, 1); err != nil {
		return nil, job.ErrClosed()
	}
	defer s.Admission.Turn.Release(1)
	exports, _, err := s.Admission.Exports()
	if err != nil {
		return nil, err
	}
	if most := s.Admission.MaxExports(); exports+len(p.Restore.Disks) > most {
		return nil, fault.New(fault.Busy, "%d disks are exported; %d more would exceed the limit of %d",
			exports, len(p.Restore.Disks), most).
			WithHint("try again later, stop a restore, or raise limits.max_exports")
	}
	failpoint.Reach("before prepare restore")
	r, err := s.Store.PrepareRestore(p)
	failpoint.Reach("after prepare restore")
	if errors.Is(err, nbd.ErrNoFreePort) && s.Ports.Foreign.Count() > 0 {
		s.Ports.Foreign.Forget() // the list may be out of date
		r, err = s.Store.PrepareRestore(p)
	}
	if err != nil {
		return nil, err
	}
	s.Watchers.Tell(events.Event{Kind: events.State, Restore: &r})
	return s.launch(r)
}

// restoreRefused translates an error of the store for the caller.
func restoreRefused(err error, p store.RestorePreparation) error {
	var (
		full  *store.RestoresError
		state *store.StateError
		ours  *fault.Error

		merging *store.MergingError
	)
	var mismatch *store.RequestMismatchError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &mismatch):
		return fault.New(fault.InvalidRequest, "%w", mismatch).OfRestore(mismatch.BackupID).WithHint("use a new request_id for a new request")
	case errors.As(err, &full):
		return fault.New(fault.Busy, "%w", full).WithHint("sendensectl restore list shows them (limits.max_restores)")
	case errors.As(err, &state):
		return fault.New(fault.WrongState, "%w", state).OfBackup(state.BackupID)
	case errors.As(err, &merging):
		return merge.Refused(merging.BackupID, merging)
	case errors.Is(err, nbd.ErrNoFreePort):
		return fault.New(fault.NoFreePort, "restore of backup %s needs %d NBD ports: %w", p.Restore.BackupID, len(p.Restore.Disks), err)
	}
	return fault.New(fault.Internal, "restore of backup %s: %w", p.Restore.BackupID, ledger.NotFound(err))
}

// List lists the restores on record, the newest first: the active ones and the last ones that have ended.
func (s *Service) List(activeOnly bool) ([]record.Restore, error) {
	list, err := s.Store.Restores()
	if activeOnly {
		list = slices.DeleteFunc(list, func(r record.Restore) bool { return !r.State.Active() })
	}
	return list, ledger.NotFound(err)
}

// Stop ends a restore, even if clients are connected, and returns when everything is removed. Stopping a restore that has ended is
// no error.
func (s *Service) Stop(ctx context.Context, id string) (record.Restore, error) {
	j, err := s.waitJob(ctx, id)
	if err != nil {
		return record.Restore{}, err
	}
	if j != nil {
		if err := j.End(ctx, errRestoreStopped); err != nil {
			return record.Restore{}, err
		}
	}
	left, err := s.Records.Restore(id)
	if err == nil && left.State.Active() {
		return left, fault.New(fault.ShuttingDown, "restore %s is %s and the agent is stopping: stop it again after the restart", id, left.State).OfRestore(id)
	}
	return left, err
}

// waitJob returns the job of a restore that may just have been put on record: it waits until the start in progress has launched it.
// It is nil if the restore has no job.
func (s *Service) waitJob(ctx context.Context, id string) (*restoreJob, error) {
	if err := s.Admission.Turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.Admission.Turn.Release(1)
	return s.active.Get(id), nil
}
