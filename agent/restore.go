package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// RestoreRequest asks that a restore point be served.
type RestoreRequest struct {
	BackupID string
	Disks    []int         // disk ids; none = every disk of the restore point
	Writable bool          // clients write into scratch overlays, which are thrown away at the end
	Lifetime time.Duration // 0 = as configured
	Files    bool          // single files of the one disk are read; it ends when nobody reads any more

	DespiteDamage bool // serve what is left of what is damaged
	VerifyDigests bool // first read every image whole, and compare it with its digest

	RequestID string // the caller's own mark: a repeated one gets the first answer
}

// StartRestore serves a restore point over NBD: an export per disk, all of one instant. It returns when every export has
// answered a handshake, or when everything is undone. The restore goes on, or is undone, whatever becomes of ctx.
func (a *Agent) StartRestore(ctx context.Context, req RestoreRequest) (record.Restore, error) {
	p, err := a.planRestore(req)
	if err != nil {
		return record.Restore{}, err
	}
	var r *restoration
	err = a.steadily(func() (err error) {
		r, err = a.admitRestore(p)
		return err
	})
	var again *store.RestoreRequestedError
	if errors.As(err, &again) {
		return a.restoreAgain(ctx, again.Restore)
	}
	if err != nil {
		return record.Restore{}, restoreRefused(err, p)
	}
	return a.awaitRestore(ctx, r)
}

func (a *Agent) awaitRestore(ctx context.Context, r *restoration) (record.Restore, error) {
	select {
	case <-r.answered:
		if r.err != nil {
			return record.Restore{}, r.err
		}
		return a.Restore(r.id)
	case <-ctx.Done():
		return record.Restore{}, ctx.Err()
	}
}

// restoreAgain answers a request that repeats an earlier one: with what came of that. It waits for it, if it is being started.
func (a *Agent) restoreAgain(ctx context.Context, first record.Restore) (record.Restore, error) {
	r, err := a.settledRestore(ctx, first.ID)
	if err != nil {
		return record.Restore{}, err
	}
	if r != nil {
		return a.awaitRestore(ctx, r)
	}
	return a.Restore(first.ID)
}

// planRestore checks everything that can be known before anything is touched.
func (a *Agent) planRestore(req RestoreRequest) (p store.RestorePreparation, err error) {
	point, err := a.Backup(req.BackupID)
	if err != nil {
		return p, err
	}
	if point.State != record.Completed {
		e := errorf(WrongState, "backup %s is %s: only one that is completed is a restore point", point.ID, point.State)
		e.BackupID = point.ID
		return p, e
	}
	repo, err := a.findRepository(point.Repository)
	if err != nil {
		return p, err
	}
	if req.RequestID != "" {
		if err := record.ValidName("request_id", req.RequestID); err != nil {
			return p, errorf(InvalidRequest, "%w", err)
		}
	}
	disks, err := chooseDisks(point, req.Disks)
	if err != nil {
		return p, err
	}
	if err := a.checkFiles(req, disks); err != nil {
		return p, err
	}
	life, err := a.lifetime(req.Lifetime)
	if err != nil {
		return p, err
	}
	if req.Writable {
		if err := checkSpace(repo, a.config.Space.Reserve, "space.reserve"); err != nil {
			return p, err
		}
	}
	now := time.Now()
	return store.RestorePreparation{
		Restore: record.Restore{
			BackupID: point.ID, VMName: point.VM.Name, Repository: repo.ID, Writable: req.Writable, Disks: disks,
			DespiteDamage: req.DespiteDamage, VerifyDigests: req.VerifyDigests,
			ExpiresAt: now.Add(life), LatestAt: now.Add(a.config.Restore.MaxLifetime.Std()), RequestID: req.RequestID,
		},
		Now: now, Most: a.config.Limits.MaxRestores, Ports: a.choosePorts,
		ID: func(unix int64) string { return nbd.RestoreID(point.VM.Name, unix) },
		Complete: func(r *record.Restore, leases []record.Lease) {
			nameExports(r, repo, point, leases)
			if req.Files {
				a.nameReader(r, leases[0])
			}
		},
	}, nil
}

// chooseDisks are the disks of a restore point that are asked for, in its order.
func chooseDisks(point record.Backup, ids []int) ([]record.RestoreDisk, error) {
	for i, id := range ids {
		if point.Run(id) == nil {
			e := errorf(InvalidRequest, "backup %s has no disk %d", point.ID, id)
			e.BackupID, e.Hint = point.ID, "backup.get names the ones that it has"
			return nil, e
		}
		if slices.Contains(ids[:i], id) {
			return nil, errorf(InvalidRequest, "disks: %d is there twice", id)
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

func (a *Agent) lifetime(asked time.Duration) (time.Duration, error) {
	most := a.config.Restore.MaxLifetime.Std()
	switch {
	case asked == 0:
		return a.config.Restore.Lifetime.Std(), nil
	case asked < 0 || asked > most:
		e := errorf(InvalidRequest, "lifetime %s: want more than 0, and at most %s", asked, most)
		e.Hint = "the most is restore.max_lifetime of the configuration"
		return 0, e
	}
	return asked, nil
}

// nameExports says what each disk is served as. The names of exports hold the id of the restore, so that no client of a
// backup, and none of an earlier restore, takes one for its own.
func nameExports(r *record.Restore, repo *repository.Repository, point record.Backup, leases []record.Lease) {
	if r.Writable {
		r.Directory = repo.ScratchDir(r.ID)
	}
	for i, l := range leases {
		d := &r.Disks[i]
		d.ExportName = fmt.Sprintf("%s-disk%d", r.ID, d.DiskID)
		d.Unit = unitName(r.ID, d.DiskID, l.Nonce)
		nameImage(r, d, repo, point)
	}
}

// admitRestore puts a restore on record and launches the goroutine that moves it along, if there is room.
func (a *Agent) admitRestore(p store.RestorePreparation) (*restoration, error) {
	if err := a.admission.Acquire(a.jobs.work, 1); err != nil {
		return nil, errClosed()
	}
	defer a.admission.Release(1)
	running, err := a.running()
	if err != nil {
		return nil, err
	}
	if most := a.maxExports(); running.exports+len(p.Restore.Disks) > most {
		e := errorf(Busy, "%d disks are being exported, and with %d more there would be more than the %d that may",
			running.exports, len(p.Restore.Disks), most)
		e.Hint = "try again later, stop a restore, or raise limits.max_exports"
		return nil, e
	}
	failpoint.Reach("before prepare restore")
	r, err := a.store.PrepareRestore(p)
	failpoint.Reach("after prepare restore")
	if errors.Is(err, nbd.ErrNoFreePort) && a.foreign.count() > 0 {
		a.foreign.forget() // it may be out of date
		r, err = a.store.PrepareRestore(p)
	}
	if err != nil {
		return nil, err
	}
	a.watchers.tell(Event{Kind: EventState, Restore: &r})
	return a.launchRestore(r)
}

// restoreRefused translates what the store says into what the caller is told.
func restoreRefused(err error, p store.RestorePreparation) error {
	var (
		full  *store.RestoresError
		state *store.StateError
		ours  *Error

		steady *store.MergingError
	)
	var mismatch *store.RequestMismatchError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &mismatch):
		e := errorf(InvalidRequest, "%w", mismatch)
		e.RestoreID, e.Hint = mismatch.BackupID, "give each request a request_id of its own"
		return e
	case errors.As(err, &full):
		e := errorf(Busy, "%w", full)
		e.Hint = "sendensectl restore list names them (limits.max_restores)"
		return e
	case errors.As(err, &state):
		e := errorf(WrongState, "%w", state)
		e.BackupID = state.BackupID
		return e
	case errors.As(err, &steady):
		return rewriteRefused(steady.BackupID, steady)
	case errors.Is(err, nbd.ErrNoFreePort):
		return errorf(NoFreePort, "restore of backup %s needs %d NBD ports: %w", p.Restore.BackupID, len(p.Restore.Disks), err)
	}
	return errorf(Internal, "restore of backup %s: %w", p.Restore.BackupID, notFound(err))
}

// Restore returns the record of a restore.
func (a *Agent) Restore(id string) (record.Restore, error) {
	r, err := a.store.Restore(id)
	return r, notFound(err)
}

// Restores lists the restores on record, the newest first: those that are active and the last that have ended.
func (a *Agent) Restores(activeOnly bool) ([]record.Restore, error) {
	list, err := a.store.Restores()
	if activeOnly {
		list = slices.DeleteFunc(list, func(r record.Restore) bool { return !r.State.Active() })
	}
	return list, notFound(err)
}

// StopRestore ends a restore, whoever is connected, and returns when nothing is left of it. To stop one that has ended is no
// error.
func (a *Agent) StopRestore(ctx context.Context, id string) (record.Restore, error) {
	r, err := a.settledRestore(ctx, id)
	if err != nil {
		return record.Restore{}, err
	}
	if r != nil {
		r.cancel(errRestoreStopped)
		select {
		case <-r.done:
		case <-ctx.Done():
			return record.Restore{}, ctx.Err()
		}
	}
	left, err := a.Restore(id)
	if err == nil && left.State.Active() {
		e := errorf(ShuttingDown, "restore %s is %s and the agent is stopping: stop it again when the agent is back", id, left.State)
		e.RestoreID = id
		return left, e
	}
	return left, err
}

// settledRestore is the goroutine of a restore that may be on record since this very moment; nil if it has none.
func (a *Agent) settledRestore(ctx context.Context, id string) (*restoration, error) {
	if err := a.admission.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer a.admission.Release(1)
	return a.restores.get(id), nil
}
