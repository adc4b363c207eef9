package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// unitPrefix begins the name of every unit of ours.
const unitPrefix = "sendense-nbd-"

// StartBackup backs up a whole VM: it leases a port per disk, makes the images, starts the exports, and asks the SNA
// exactly once. It returns when the SNA has answered, or when everything is undone. The backup goes on, or is undone,
// whatever becomes of ctx; its end is seen with Backup.
func (a *Agent) StartBackup(ctx context.Context, req StartRequest) (record.Backup, error) {
	if err := validateLabels(req); err != nil {
		return record.Backup{}, err
	}
	if b, found, err := a.repeated(req); err != nil || found {
		return a.firstAnswer(ctx, b, err)
	}
	// A caller that hangs up changes nothing: what follows is on the agent's own time.
	start := time.Now()
	fresh, repo, err := a.validateStart(a.jobs.work, req)
	if err != nil {
		return record.Backup{}, err
	}
	a.metrics.phase(phaseValidate, start)
	var b record.Backup
	var r *run
	err = a.steadily(func() (err error) {
		b, r, err = a.prepare(a.jobs.work, fresh, repo, req)
		return err
	})
	if err != nil {
		return record.Backup{}, a.prepareError(err, fresh.VM, repo)
	}
	if r == nil { // the same request came a moment ago
		return a.firstAnswer(ctx, b, nil)
	}
	return a.await(ctx, r)
}

// await waits for the answer to a start.
func (a *Agent) await(ctx context.Context, r *run) (record.Backup, error) {
	select {
	case <-r.answered:
		if r.err != nil {
			return record.Backup{}, r.err
		}
		return a.Backup(r.id)
	case <-ctx.Done():
		return record.Backup{}, ctx.Err()
	}
}

// repeated finds the backup that a request with the same id has made before. Type auto is whatever it became.
func (a *Agent) repeated(req StartRequest) (record.Backup, bool, error) {
	if req.RequestID == "" {
		return record.Backup{}, false, nil
	}
	first, found, err := a.store.Requested(req.RequestID)
	if err != nil || !found {
		return first, false, notFound(err)
	}
	repository := cmp.Or(req.Repository, a.config.DefaultRepository)
	for _, f := range []struct{ field, first, now string }{
		{"vm_name", first.VM.Name, req.VMName},
		{"repository_id", first.Repository, repository},
		{"backup_type", string(first.Type), string(req.Type)},
	} {
		if f.first != f.now && f.now != string(record.Auto) {
			e := errorf(InvalidRequest, "request_id %q was used before for backup %s with %s %q, now it is %q",
				req.RequestID, first.ID, f.field, f.first, f.now)
			e.BackupID, e.Hint = first.ID, "use a new request_id for a new request"
			return first, false, e
		}
	}
	return first, true, nil
}

// firstAnswer is what the first of several equal requests was, or is going to be, answered with.
func (a *Agent) firstAnswer(ctx context.Context, b record.Backup, err error) (record.Backup, error) {
	if err != nil {
		return record.Backup{}, err
	}
	r, err := a.settledRun(ctx, b.ID)
	if err != nil {
		return b, err
	}
	if r != nil {
		return a.await(ctx, r)
	}
	if b, err = a.Backup(b.ID); err != nil {
		return b, err
	}
	if b.Failure != nil && !b.Accepted() {
		return record.Backup{}, failureError(b)
	}
	return b, nil
}

// validateStart checks everything that can be known before anything is touched.
func (a *Agent) validateStart(ctx context.Context, req StartRequest) (vmNow, *repository.Repository, error) {
	var none vmNow
	switch req.Type {
	case record.Full, record.Incremental, record.Auto:
	case "":
		return none, nil, errorf(InvalidRequest, "backup_type is missing: want full, incremental or auto")
	default:
		return none, nil, errorf(InvalidRequest, "backup_type %q: want full, incremental or auto", req.Type)
	}
	if err := a.checkPolicy(req.Policy); err != nil {
		return none, nil, err
	}
	repo, err := a.findRepository(req.Repository)
	if err != nil {
		return none, nil, err
	}
	vm, err := a.freshVM(ctx, req.VMName)
	if err != nil {
		return none, nil, err
	}
	if len(vm.Disks) == 0 {
		e := errorf(VMHasNoDisks, "vm %q has no disks on record", vm.Name)
		e.Hint = "run discovery first (vm.discover), or register the disks with vm.put"
		return none, nil, e
	}
	if err := vm.Validate(); err != nil {
		return none, nil, errorf(InvalidRequest, "%w", err)
	}
	if _, err := a.snaRequest(record.Backup{VM: vm.VM, Type: req.Type}); err != nil {
		return none, nil, err
	}
	if err := a.checkNewKey(repo); err != nil {
		return none, nil, err
	}
	if req.RateLimit != 0 && req.RateLimit < qemu.MinRateLimit {
		return none, nil, errorf(InvalidRequest, "rate_limit %d: want 0 for none, or at least %d bytes per second", req.RateLimit, qemu.MinRateLimit)
	}
	if err := a.checkState(ctx); errors.Is(err, errStopping) {
		return none, nil, errClosed()
	} else if err != nil {
		return none, nil, err
	}
	if err := checkSpace(repo, a.config.Space.Reserve, "space.reserve"); err != nil {
		return none, nil, err
	}
	return vm, repo, nil
}

// Bounds of the labels a caller may put on a backup; they are kept with its record for ever.
const (
	maxTags     = 64
	maxTagBytes = 1024
)

func validateLabels(req StartRequest) error {
	if err := record.ValidName("vm_name", req.VMName); err != nil {
		return errorf(InvalidRequest, "%w", err)
	}
	if len(req.Tags) > maxTags {
		return errorf(InvalidRequest, "tags: %d given, the most is %d", len(req.Tags), maxTags)
	}
	for k, v := range req.Tags {
		if err := record.ValidName("tag name", k); err != nil {
			return errorf(InvalidRequest, "tags: %w", err)
		}
		if len(v) > maxTagBytes {
			return errorf(InvalidRequest, "tag %q: value is %d bytes long, the most is %d", k, len(v), maxTagBytes)
		}
	}
	for _, f := range []struct{ what, text string }{{"policy_id", req.Policy}, {"request_id", req.RequestID}} {
		if f.text == "" {
			continue
		}
		if err := record.ValidName(f.what, f.text); err != nil {
			return errorf(InvalidRequest, "%w", err)
		}
	}
	return nil
}

// prepare puts the backup on record, with the leases of all its ports or in the queue, and launches its run; no run is
// returned for a request that was made before.
func (a *Agent) prepare(ctx context.Context, fresh vmNow, repo *repository.Repository, req StartRequest) (record.Backup, *run, error) {
	vm := fresh.VM
	kind, parent, why, err := a.chooseParent(ctx, vm, repo, req.Type)
	if err == nil && parent == nil {
		err = a.proveKey(ctx, vm, repo)
	}
	if err != nil {
		return record.Backup{}, nil, err
	}
	p := store.Preparation{
		Backup: record.Backup{
			VM: vm, Type: kind, Repository: repo.ID, Policy: req.Policy, Tags: maps.Clone(req.Tags), RequestID: req.RequestID,
			RateLimit: cmp.Or(req.RateLimit, a.rateLimit(repo.ID)),
			FullWhy:   why, RefreshError: fresh.refreshError,
		},
		Now:   time.Now(),
		ID:    func(unix int64) string { return nbd.BackupID(vm.Name, unix) },
		Ports: a.choosePorts,
		Complete: func(b *record.Backup, leases []record.Lease) {
			a.plan(b, repo, parent, leases)
			failpoint.Reach("committing prepare")
		},
	}
	if parent != nil {
		p.Backup.Parent = parent.ID
	}
	return a.admit(p, req.Queue)
}

// plan says where a backup's images lie, and how each disk is going to be exported.
func (a *Agent) plan(b *record.Backup, repo *repository.Repository, parent *record.Backup, leases []record.Lease) {
	b.Directory = repo.Dir(nbd.DirName(b.VM.Name), b.ID)
	b.Runs = make([]record.DiskRun, len(b.VM.Disks))
	for i, d := range b.VM.Disks {
		b.Runs[i] = planDisk(b, d, leases[i])
		b.Runs[i].KeyID = a.newKey(repo)
		if parent != nil {
			standOn(&b.Runs[i], parent)
		}
	}
	if parent != nil {
		b.RemovedDisks = removedDisks(b.VM, parent)
	}
}

// choosePorts picks ports in rotation that are neither taken, nor resting, nor known to be held by a foreign process.
func (a *Agent) choosePorts(after uint16, taken func(uint16) bool, n int) ([]uint16, error) {
	return a.ports.Next(after, func(p uint16) bool { return taken(p) || a.foreign.has(p) || a.resting.hasPort(p) }, n)
}

// planDisk says how one disk of a backup is going to be exported.
func planDisk(b *record.Backup, d record.Disk, l record.Lease) record.DiskRun {
	export := nbd.ExportName(b.VM.Name, d.ID)
	return record.DiskRun{
		DiskID: d.ID, Key: d.Key(), CapacityBytes: d.CapacityBytes, Content: record.WholeDisk,
		Port: l.Port, ExportName: export,
		Image: b.Directory + "/" + export + ".qcow2",
		Unit:  unitName(b.ID, d.ID, l.Nonce),
	}
}

// unitName is the name of the pair of units that serves one lease. The nonce makes it unlike every other, so that a
// unit of this name was started for this lease and nothing else.
func unitName(backupID string, diskID int, nonce string) string {
	return fmt.Sprintf("%s%s-disk%d-%s", unitPrefix, backupID, diskID, nonce)
}

// prepareError translates what the store says into what the caller is told.
func (a *Agent) prepareError(err error, vm record.VM, repo *repository.Repository) error {
	var (
		active   *store.ActiveError
		cooling  *store.CoolingError
		mismatch *store.RequestMismatchError
		steady   *store.MergingError
		parent   *store.ParentError
		damaged  *store.DamagedError
		ours     *Error
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &active):
		e := errorf(BackupInProgress, "vm %q already has backup %s, which is %s", vm.Name, active.BackupID, active.State)
		e.BackupID, e.Hint = active.BackupID, "wait for it to end, or cancel it: a second snapshot would destroy the first"
		return e
	case errors.As(err, &cooling):
		e := errorf(CoolingDown, "%w", cooling)
		e.Hint = "start again after that time: a second client would remove the snapshot that the first one still reads. While the old client " +
			"reports, the cool-down begins anew: end its process on the SNA if it does not end (sna.cooldown)"
		if cooling.BackupID != store.UnknownBackup {
			e.BackupID = cooling.BackupID
		}
		return e
	case errors.As(err, &mismatch):
		return errorf(InvalidRequest, "%w", err)
	case errors.As(err, &steady):
		return rewriteRefused(steady.BackupID, steady)
	case errors.As(err, &parent):
		return errorf(NoParent, "vm %q: %w", vm.Name, parent)
	case errors.As(err, &damaged): // it was found out since the parent was chosen
		return errorf(NoParent, "vm %q: %w", vm.Name, damaged)
	case errors.Is(err, nbd.ErrNoFreePort):
		return errorf(NoFreePort, "vm %q needs %d NBD ports: %w", vm.Name, len(vm.Disks), err)
	}
	return errorf(Internal, "vm %q: preparing a backup in repository %s: %w", vm.Name, repo.ID, err)
}

// abandon ends a backup that was prepared but not launched.
func (a *Agent) abandon(b record.Backup, cause error) error {
	fail := func(b *record.Backup) { b.Failure = failureOf(cause) }
	if _, err := a.advance(b.ID, record.Undoing, fail); err != nil {
		return err
	}
	if _, err := a.advance(b.ID, record.Failed, nil); err != nil {
		return err
	}
	return cause
}

// rateLimit is what the configuration says of a repository, in bytes per second.
func (a *Agent) rateLimit(id string) int64 {
	for _, r := range a.config.Repositories {
		if r.ID == id {
			return r.RateLimit.Bytes()
		}
	}
	return 0
}

// findRepository returns a configured repository; the empty id is the default one.
func (a *Agent) findRepository(id string) (*repository.Repository, error) {
	if id == "" {
		id = a.config.DefaultRepository
	}
	if id == "" {
		return nil, errorf(InvalidRequest, "repository_id is missing, and the configuration names no default_repository")
	}
	for _, r := range a.repositories {
		if r.ID == id {
			return r, nil
		}
	}
	e := errorf(RepositoryNotFound, "repository %q is not configured", id)
	e.Hint = "repository.list names the ones that are"
	return nil, e
}
