package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// unitPrefix begins the name of every unit of ours.
const unitPrefix = "sendense-nbd-"

// StartBackup backs up a whole VM: it leases a port per disk, makes the images, starts the exports, and asks the SNA
// exactly once. It returns when the SNA has answered, or when everything is undone. The backup goes on, or is undone,
// whatever becomes of ctx; its end is seen with Backup.
func (a *Agent) StartBackup(ctx context.Context, req StartRequest) (backup.Backup, error) {
	vm, repo, err := a.validateStart(req)
	if err != nil {
		return backup.Backup{}, err
	}
	b, existing, err := a.prepare(ctx, vm, repo, req)
	if err != nil {
		return backup.Backup{}, a.prepareError(err, vm, repo)
	}
	r := a.run(b.ID)
	if !existing {
		if r, err = a.launch(b); err != nil {
			return backup.Backup{}, a.abandon(b, err)
		}
	}
	if r != nil {
		select {
		case <-r.answered:
			err = r.err
		case <-ctx.Done():
			return backup.Backup{}, ctx.Err()
		}
	}
	if existing && r == nil {
		err = firstAnswer(b)
	}
	if err != nil {
		return backup.Backup{}, err
	}
	return a.Backup(b.ID)
}

// firstAnswer is what the start of a backup that is over was answered with, for a caller who asks again.
func firstAnswer(b backup.Backup) error {
	if b.Failure == nil || !b.SeenAt.IsZero() || b.SNAPID != 0 {
		return nil
	}
	return failureError(b)
}

// validateStart checks everything that can be known before anything is touched.
func (a *Agent) validateStart(req StartRequest) (backup.VM, *repository.Repository, error) {
	var none backup.VM
	if err := backup.ValidName("vm_name", req.VMName); err != nil {
		return none, nil, errorf(InvalidRequest, "%w", err)
	}
	switch req.Type {
	case backup.Full, backup.Incremental, backup.Auto:
	case "":
		return none, nil, errorf(InvalidRequest, "backup_type is missing: want full, incremental or auto")
	default:
		return none, nil, errorf(InvalidRequest, "backup_type %q: want full, incremental or auto", req.Type)
	}
	if err := validLabels(req); err != nil {
		return none, nil, err
	}
	repo, err := a.findRepository(req.Repository)
	if err != nil {
		return none, nil, err
	}
	vm, err := a.VM(req.VMName)
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
	if _, err := a.snaRequest(backup.Backup{VM: vm, Type: req.Type}); err != nil {
		return none, nil, err
	}
	if req.RateLimit != 0 && req.RateLimit < nbd.MinRateLimit {
		return none, nil, errorf(InvalidRequest, "rate_limit %d: want 0 for none, or at least %d bytes per second", req.RateLimit, nbd.MinRateLimit)
	}
	return vm, repo, nil
}

// Bounds of the labels a caller may put on a backup; they are kept with its record for ever.
const (
	maxTags     = 64
	maxTagBytes = 1024
)

func validLabels(req StartRequest) error {
	if len(req.Tags) > maxTags {
		return errorf(InvalidRequest, "tags: %d given, the most is %d", len(req.Tags), maxTags)
	}
	for k, v := range req.Tags {
		if err := backup.ValidName("tag name", k); err != nil {
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
		if err := backup.ValidName(f.what, f.text); err != nil {
			return errorf(InvalidRequest, "%w", err)
		}
	}
	return nil
}

// prepare writes the record and leases every port, in one transaction. When every port seems taken, the memory of
// ports held by other processes may be out of date: it is dropped and the ports are looked at once more.
func (a *Agent) prepare(ctx context.Context, vm backup.VM, repo *repository.Repository, req StartRequest) (backup.Backup, bool, error) {
	kind, parent, err := a.chooseParent(ctx, vm, repo, req.Type)
	if err != nil {
		return backup.Backup{}, false, err
	}
	p := store.Preparation{
		Backup: backup.Backup{
			VM: vm, Type: kind, Repository: repo.ID, Policy: req.Policy, Tags: maps.Clone(req.Tags), RequestID: req.RequestID,
		},
		Now:   time.Now(),
		ID:    func(unix int64) string { return nbd.BackupID(vm.Name, unix) },
		Ports: a.choosePorts,
		Complete: func(b *backup.Backup, leases []backup.Lease) {
			a.plan(b, repo, parent, leases)
			b.RateLimit = req.RateLimit
		},
	}
	if parent != nil {
		p.Backup.Parent = parent.ID
	}
	b, existing, err := a.store.Prepare(p)
	if errors.Is(err, nbd.ErrNoFreePort) && a.foreign.count() > 0 {
		a.foreign.forget()
		b, existing, err = a.store.Prepare(p)
	}
	return b, existing, err
}

// plan says where a backup's images lie, and how each disk is going to be exported.
func (a *Agent) plan(b *backup.Backup, repo *repository.Repository, parent *backup.Backup, leases []backup.Lease) {
	b.Directory = repo.Dir(nbd.DirName(b.VM.Name), b.ID)
	b.Runs = make([]backup.DiskRun, len(b.VM.Disks))
	for i, d := range b.VM.Disks {
		b.Runs[i] = planDisk(b, d, leases[i])
		if parent != nil {
			standOn(&b.Runs[i], parent)
		}
	}
	if parent != nil {
		b.RemovedDisks = removedDisks(b.VM, parent)
	}
}

// choosePorts picks ports in rotation that are neither taken nor known to be held by a foreign process.
func (a *Agent) choosePorts(after uint16, taken func(uint16) bool, n int) ([]uint16, error) {
	return a.ports.Next(after, func(p uint16) bool { return taken(p) || a.foreign.has(p) }, n)
}

// planDisk says how one disk of a backup is going to be exported.
func planDisk(b *backup.Backup, d backup.Disk, l backup.Lease) backup.DiskRun {
	export := nbd.ExportName(b.VM.Name, d.ID)
	return backup.DiskRun{
		DiskID: d.ID, Key: d.Key(), CapacityBytes: d.CapacityBytes, Content: backup.WholeDisk,
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
func (a *Agent) prepareError(err error, vm backup.VM, repo *repository.Repository) error {
	var (
		active   *store.ActiveError
		cooling  *store.CoolingError
		mismatch *store.RequestMismatchError
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
		e := errorf(CoolingDown, "vm %q: the backup client of %s may still be on its way until %s",
			vm.Name, cooling.BackupID, cooling.Until.Format(time.RFC3339))
		e.BackupID, e.Hint = cooling.BackupID, "start again after that time (sna.cooldown)"
		return e
	case errors.As(err, &mismatch):
		return errorf(InvalidRequest, "%w", err)
	case errors.Is(err, nbd.ErrNoFreePort):
		return errorf(NoFreePort, "vm %q needs %d NBD ports: %w", vm.Name, len(vm.Disks), err)
	}
	return errorf(Internal, "vm %q: preparing a backup in repository %s: %w", vm.Name, repo.ID, err)
}

// abandon ends a backup that was prepared but not launched.
func (a *Agent) abandon(b backup.Backup, cause error) error {
	fail := func(b *backup.Backup) { b.Failure = failureOf(cause) }
	if _, err := a.advance(b.ID, backup.Undoing, fail); err != nil {
		return err
	}
	if _, err := a.advance(b.ID, backup.Failed, nil); err != nil {
		return err
	}
	return cause
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
	e := errorf(RepositoryUnknown, "repository %q is not configured", id)
	e.Hint = "repository.list names the ones that are"
	return nil, e
}
