package backup

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Request asks for a backup of a whole VM.
type Request struct {
	VMName     string
	Type       record.Type
	Repository string
	Policy     string
	Tags       map[string]string
	RequestID  string
	Queue      bool  // queue the backup if there is no room now, instead of refusing it
	RateLimit  int64 // bytes per second that each export may receive; 0 = the repository's own limit
}

// checkPolicy refuses a start for a policy that does not exist. If no policy is configured, a policy_id is only the caller's own
// label, as it was before there were policies.
func (s *Service) checkPolicy(id string) error {
	if id == "" || len(s.Config.Policies) == 0 {
		return nil
	}
	var ids []string
	for _, p := range s.Config.Policies {
		if p.ID == id {
			return nil
		}
		ids = append(ids, p.ID)
	}
	return fault.New(fault.InvalidRequest, "policy_id %q is not configured: want one of %q", id, ids).
		WithHint("add a [[policy]] with that id to the configuration and restart the daemon, or omit policy_id to use the policy of the repository")
}

// Start backs up a whole VM: it leases a port per disk, makes the images, starts the exports, and asks the SNA exactly once. It
// returns when the SNA has answered, or when everything is undone. The backup or its undo continues if ctx ends. The record
// shows the outcome.
func (s *Service) Start(ctx context.Context, req Request) (record.Backup, error) {
	if err := validateLabels(req); err != nil {
		return record.Backup{}, err
	}
	req.Type = cmp.Or(req.Type, record.Auto)
	if b, found, err := s.repeated(req); err != nil || found {
		return s.firstAnswer(ctx, b, err)
	}
	// A caller that hangs up changes nothing: from here the agent uses its own context.
	start := time.Now()
	fresh, repo, err := s.validate(s.Jobs.Work, req)
	if err != nil {
		return record.Backup{}, err
	}
	s.Metrics.Phase(metrics.PhaseValidate, start)
	var b record.Backup
	var j *Job
	err = s.Merges.RetryWhileSwapping(func() (err error) {
		b, j, err = s.prepare(s.Jobs.Work, fresh, repo, req)
		return err
	})
	if err != nil {
		return record.Backup{}, s.prepareError(err, fresh.VM, repo)
	}
	if j == nil { // the same request came just before
		return s.firstAnswer(ctx, b, nil)
	}
	return s.await(ctx, j)
}

// await waits for the answer to a start.
func (s *Service) await(ctx context.Context, j *Job) (record.Backup, error) {
	if err := j.Await(ctx); err != nil {
		return record.Backup{}, err
	}
	return s.Records.Backup(j.ID)
}

// repeated finds the backup that an earlier request with the same id made. Type auto matches the type that was chosen then.
func (s *Service) repeated(req Request) (record.Backup, bool, error) {
	if req.RequestID == "" {
		return record.Backup{}, false, nil
	}
	first, found, err := s.Store.Requested(req.RequestID)
	if err != nil || !found {
		return first, false, ledger.NotFound(err)
	}
	repository := cmp.Or(req.Repository, s.Config.DefaultRepository)
	for _, f := range []struct{ field, first, now string }{
		{"vm_name", first.VM.Name, req.VMName},
		{"repository_id", first.Repository, repository},
		{"backup_type", string(first.Type), string(req.Type)},
	} {
		if f.first != f.now && f.now != string(record.Auto) {
			return first, false, fault.New(fault.InvalidRequest, "request_id %q was already used for backup %s with %s %q; this request has %q",
				req.RequestID, first.ID, f.field, f.first, f.now).OfBackup(first.ID).
				WithHint("use a new request_id for a new request")
		}
	}
	return first, true, nil
}

// firstAnswer returns what the first of several equal requests got, or will get, as its answer.
func (s *Service) firstAnswer(ctx context.Context, b record.Backup, err error) (record.Backup, error) {
	if err != nil {
		return record.Backup{}, err
	}
	j, err := s.waitJob(ctx, b.ID)
	if err != nil {
		return b, err
	}
	if j != nil {
		return s.await(ctx, j)
	}
	if b, err = s.Records.Backup(b.ID); err != nil {
		return b, err
	}
	if b.Failure != nil && !b.Accepted() {
		return record.Backup{}, failureError(b)
	}
	return b, nil
}

// validate checks everything that can be known before anything changes.
func (s *Service) validate(ctx context.Context, req Request) (inventory.Refreshed, *storage.Repository, error) {
	var none inventory.Refreshed
	switch req.Type {
	case record.Full, record.Incremental, record.Auto:
	default:
		return none, nil, fault.New(fault.InvalidRequest, "backup_type %q: want full, incremental or auto", req.Type)
	}
	if err := s.checkPolicy(req.Policy); err != nil {
		return none, nil, err
	}
	repo, err := s.Repositories.Find(req.Repository)
	if err != nil {
		return none, nil, err
	}
	if err := repo.Stuck(); err != nil && !req.Queue {
		return none, nil, repositories.Fault(err)
	}
	vm, err := s.Inventory.Fresh(ctx, req.VMName)
	if err != nil {
		return none, nil, err
	}
	if len(vm.Disks) == 0 {
		return none, nil, fault.New(fault.VMHasNoDisks, "vm %q has no disks on record", vm.Name).
			WithHint("run discovery first (vm.discover), or register the disks with vm.put")
	}
	if err := vm.Validate(); err != nil {
		return none, nil, fault.New(fault.InvalidRequest, "%w", err)
	}
	if _, err := s.snaRequest(record.Backup{VM: vm.VM, Type: req.Type}); err != nil {
		return none, nil, err
	}
	if err := s.Repositories.CheckNewKey(repo); err != nil {
		return none, nil, err
	}
	if req.RateLimit != 0 && req.RateLimit < qemu.MinRateLimit {
		return none, nil, fault.New(fault.InvalidRequest, "rate_limit %d: want 0 for none, or at least %d bytes per second", req.RateLimit, qemu.MinRateLimit)
	}
	if err := s.Records.CheckWritable(ctx); errors.Is(err, job.ErrStopping) {
		return none, nil, job.ErrClosed()
	} else if err != nil {
		return none, nil, err
	}
	return vm, repo, s.checkRepository(ctx, repo, req)
}

// checkRepository checks that a repository is open and has space. A request that may be queued waits for the first, and the second is
// checked then.
func (s *Service) checkRepository(ctx context.Context, repo *storage.Repository, req Request) error {
	err := s.Admission.Gate.Check(repo.ID)
	if err == nil {
		return repositories.CheckSpace(storage.FailFast(ctx), repo, s.Config.Space.Reserve, "space.reserve")
	}
	if req.Queue && admission.IsClosed(err) {
		return nil
	}
	return err
}

// Limits of the labels that a caller may put on a backup. They stay in its record.
const (
	maxTags     = 64
	maxTagBytes = 1024
)

func validateLabels(req Request) error {
	if err := record.ValidName("vm_name", req.VMName); err != nil {
		return fault.New(fault.InvalidRequest, "%w", err)
	}
	if len(req.Tags) > maxTags {
		return fault.New(fault.InvalidRequest, "tags: %d given, the limit is %d", len(req.Tags), maxTags)
	}
	for k, v := range req.Tags {
		if err := record.ValidName("tag name", k); err != nil {
			return fault.New(fault.InvalidRequest, "tags: %w", err)
		}
		if len(v) > maxTagBytes {
			return fault.New(fault.InvalidRequest, "tag %q: value is %d bytes long, the limit is %d", k, len(v), maxTagBytes)
		}
	}
	for _, f := range []struct{ what, text string }{{"policy_id", req.Policy}, {"request_id", req.RequestID}} {
		if f.text == "" {
			continue
		}
		if err := record.ValidName(f.what, f.text); err != nil {
			return fault.New(fault.InvalidRequest, "%w", err)
		}
	}
	return nil
}

// prepare puts the backup on record, with leases of all its ports or in the queue, and launches its job. It returns no job for a
// request that was made before.
func (s *Service) prepare(ctx context.Context, fresh inventory.Refreshed, repo *storage.Repository, req Request) (record.Backup, *Job, error) {
	vm := fresh.VM
	kind, parent, why, err := s.chooseParent(ctx, vm, repo, req)
	if err != nil {
		return record.Backup{}, nil, err
	}
	p := store.Preparation{
		Backup: record.Backup{
			VM: vm, Type: kind, Repository: repo.ID, Policy: req.Policy, Tags: maps.Clone(req.Tags), RequestID: req.RequestID,
			RateLimit: cmp.Or(req.RateLimit, s.Repositories.RateLimit(repo.ID)),
			FullWhy:   why, RefreshError: fresh.RefreshError,
		},
		Now:   time.Now(),
		ID:    func(unix int64) string { return nbd.BackupID(vm.Name, unix) },
		Ports: s.Ports.Choose,
		Complete: func(b *record.Backup, leases []record.Lease) {
			s.plan(b, repo, parent, leases)
			failpoint.Reach("committing prepare")
		},
	}
	if parent != nil {
		p.Backup.Parent = parent.ID
	}
	return s.admit(p, req.Queue)
}

// chooseParent chooses the parent of a backup and proves it. While the repository is closed it only looks at the records: the proof
// follows when the backup leaves the queue.
func (s *Service) chooseParent(ctx context.Context, vm record.VM, repo *storage.Repository, req Request) (kind record.Type, parent *record.Backup, why string, err error) {
	closed, err := s.Admission.Gate.Closed(repo.ID)
	switch {
	case err != nil:
		return "", nil, "", err
	case closed != nil:
		return s.Chains.ChooseUnproved(vm, repo, req.Type)
	}
	if kind, parent, why, err = s.Chains.ChooseParent(ctx, vm, repo, req.Type); err == nil && parent == nil {
		err = s.Chains.ProveKey(ctx, vm, repo)
	}
	return kind, parent, why, err
}

// plan sets where the images of a backup are, and how each disk is exported.
func (s *Service) plan(b *record.Backup, repo *storage.Repository, parent *record.Backup, leases []record.Lease) {
	b.Directory = repo.Dir(nbd.DirName(b.VM.Name), b.ID)
	b.Runs = make([]record.DiskRun, len(b.VM.Disks))
	for i, d := range b.VM.Disks {
		b.Runs[i] = planDisk(b, d, leases[i])
		b.Runs[i].KeyID = s.Repositories.NewKey(repo)
		if parent != nil {
			chain.SetBase(&b.Runs[i], parent)
		}
	}
	if parent != nil {
		b.RemovedDisks = chain.RemovedDisks(b.VM, parent)
	}
}

// planDisk says how one disk of a backup is exported.
func planDisk(b *record.Backup, d record.Disk, l record.Lease) record.DiskRun {
	exportName := nbd.ExportName(b.VM.Name, d.ID)
	return record.DiskRun{
		DiskID: d.ID, Key: d.Key(), CapacityBytes: d.CapacityBytes, Content: record.WholeDisk,
		Port: l.Port, ExportName: exportName,
		Image: b.Directory + "/" + exportName + ".qcow2",
		Unit:  export.UnitName(b.ID, d.ID, l.Nonce),
	}
}

// prepareError translates an error of the store for the caller.
func (s *Service) prepareError(err error, vm record.VM, repo *storage.Repository) error {
	var (
		active   *store.ActiveError
		cooling  *store.CoolingError
		mismatch *store.RequestMismatchError
		merging  *store.MergingError
		parent   *store.ParentError
		damaged  *store.DamagedError
		ours     *fault.Error
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &active):
		return fault.New(fault.BackupInProgress, "vm %q already has backup %s, which is %s", vm.Name, active.BackupID, active.State).OfBackup(active.BackupID).
			WithHint("wait until it ends, or cancel it: a second snapshot would destroy the first")
	case errors.As(err, &cooling):
		e := fault.New(fault.CoolingDown, "%w", cooling)
		e.Hint = "start again after that time. A second client would remove the snapshot that the first one still reads. While the old client " +
			"reports, the cool-down starts again: end its process on the SNA if it does not end (sna.cooldown)"
		if cooling.BackupID != store.UnknownBackup {
			e.BackupID = cooling.BackupID
		}
		return e
	case errors.As(err, &mismatch):
		return fault.New(fault.InvalidRequest, "%w", err)
	case errors.As(err, &merging):
		return merge.Refused(merging.BackupID, merging)
	case errors.As(err, &parent):
		return fault.New(fault.NoParent, "vm %q: %w", vm.Name, parent)
	case errors.As(err, &damaged): // it was found after the parent was chosen
		return fault.New(fault.NoParent, "vm %q: %w", vm.Name, damaged)
	case errors.Is(err, nbd.ErrNoFreePort):
		return fault.New(fault.NoFreePort, "vm %q needs %d NBD ports: %w", vm.Name, len(vm.Disks), err)
	}
	return fault.New(fault.Internal, "vm %q: preparing a backup in repository %s: %w", vm.Name, repo.ID, err)
}

// abandon ends a backup that was prepared but not launched.
func (s *Service) abandon(b record.Backup, cause error) error {
	fail := func(b *record.Backup) { b.Failure = job.FailureOf(cause) }
	if _, err := s.Records.Advance(b.ID, record.Undoing, fail); err != nil {
		return err
	}
	if _, err := s.Records.Advance(b.ID, record.Failed, nil); err != nil {
		return err
	}
	return cause
}
