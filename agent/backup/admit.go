package backup

import (
	"context"
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// admit puts a backup on record and launches its job. It leases ports for all disks if there is room. Otherwise the backup is
// queued, if the caller asked for that. Package admission says which backup of the queue is next.
func (s *Service) admit(p store.Preparation, queue bool) (record.Backup, *Job, error) {
	start := time.Now()
	if err := s.Admission.Turn.Acquire(s.Jobs.Work, 1); err != nil {
		return record.Backup{}, nil, job.ErrClosed()
	}
	defer s.Admission.Turn.Release(1)
	if err := s.Admission.CheckCooldown(p.Backup.VM); err != nil {
		return record.Backup{}, nil, err
	}
	b, existing, err := s.record(p, queue)
	if errors.Is(err, store.ErrUnsynced) {
		s.undoStray(p.Backup.VM.Name, err)
	}
	if err != nil || existing {
		return b, nil, err
	}
	s.Records.LogCreated(b)
	s.Watchers.Tell(events.Event{Kind: events.State, Backup: b})
	if b.State == record.Preparing {
		s.Metrics.Phase(metrics.PhasePrepare, start)
	}
	j, err := s.Launch(b)
	if err != nil {
		return b, nil, s.abandon(b, err)
	}
	return b, j, nil
}

// undoStray undoes a backup that is on record although its start failed. No other job moves it along.
func (s *Service) undoStray(vm string, cause error) {
	active, err := s.Store.Active()
	if err != nil {
		s.Log.Error("cannot read the record of a failed start; the agent undoes the backup at its next start", logkey.VM, vm, logkey.Error, err)
		return
	}
	for _, b := range active {
		if b.VM.Name != vm || s.Job(b.ID) != nil {
			continue
		}
		j := newJob(s, b)
		j.startErr = fault.New(fault.Internal, "backup %s: its record could not be written: %w", b.ID, cause)
		_ = s.startJob(j) // refused when the agent stops: the next one undoes it
	}
}

// record writes the record of a new backup, as preparing or queued. The caller holds Admission.Turn.
func (s *Service) record(p store.Preparation, queue bool) (b record.Backup, existing bool, err error) {
	if len(p.Backup.VM.Disks) > s.Ports.Range.Len() {
		return s.prepareNow(p) // it never fits: the error says so
	}
	full := s.Admission.RoomForNew(p.Backup)
	if full == nil {
		b, existing, err = s.prepareNow(p)
		if err == nil && !existing {
			s.Admission.Started()
		}
		if !errors.Is(err, nbd.ErrNoFreePort) || !queue {
			return b, existing, err
		}
		full = err
	}
	if !queue || !admission.NoRoom(full) || len(p.Backup.VM.Disks) > s.Admission.MaxExports() { // it would never fit
		return record.Backup{}, false, full
	}
	return s.enqueue(p)
}

// prepareNow leases all ports and writes the record. If every port seems taken, the list of foreign ports may be out of date:
// prepareNow clears it and tries once more.
func (s *Service) prepareNow(p store.Preparation) (record.Backup, bool, error) {
	failpoint.Reach("before prepare")
	b, existing, err := s.Store.Prepare(p)
	failpoint.Reach("after prepare")
	if errors.Is(err, nbd.ErrNoFreePort) && s.Ports.Foreign.Count() > 0 {
		s.Ports.Foreign.Forget()
		b, existing, err = s.Store.Prepare(p)
	}
	return b, existing, err
}

func (s *Service) enqueue(p store.Preparation) (record.Backup, bool, error) {
	_, queued, err := s.Admission.Exports()
	if err != nil {
		return record.Backup{}, false, err
	}
	if most := s.Config.Limits.MaxQueued; queued >= most {
		return record.Backup{}, false, fault.New(fault.QueueFull, "the queue is full: %d backups are queued, the limit is %d", queued, most).
			WithHint("try again later, or raise limits.max_queued")
	}
	s.Admission.Changed()
	failpoint.Reach("before enqueue")
	defer failpoint.Reach("after enqueue")
	return s.Store.Enqueue(p)
}

// queueInterval is how often a queued backup checks whether it can start. The end of another backup wakes it too, but ports that
// cool down or are held by other processes come free without an event.
const queueInterval = 5 * time.Second

// waitInQueue waits until it is the turn of a queued backup and there is room, then leases its ports. It looks up the VM's disks at
// that time, because hours may have passed since the request. It does not touch the repository while that is paused or does not answer.
func (j *Job) waitInQueue(b record.Backup) (record.Backup, error) {
	defer j.waitsFor.Store(nil)
	fresh := false
	for {
		err := j.service.checkTurn(b)
		if err == nil && !fresh {
			if b, err = j.service.refreshQueued(j.Ctx, b); err != nil {
				return b, err
			}
			fresh = true
		}
		if err == nil {
			err = j.apart(func() error { return j.service.verifyQueued(j.Ctx, b) })
		}
		admitted := b
		if err == nil {
			admitted, err = j.service.dequeue(b)
		}
		if err == nil {
			j.service.Metrics.Phase(metrics.PhaseQueue, b.CreatedAt)
			return admitted, nil
		}
		if cause := context.Cause(j.Ctx); cause != nil {
			return b, cause
		}
		if err = j.service.orClosed(b, err); !admission.NoRoom(err) && !fault.Unwritable(err) { // nothing has started yet, and both are temporary
			return b, err
		}
		j.waitsFor.Store(new(err.Error()))
		if err := j.Sleep(queueInterval); err != nil {
			return b, err
		}
	}
}

// apart calls a function that only reads, and does not wait for its end when the job is canceled: a repository may hang.
func (j *Job) apart(read func() error) error {
	done := make(chan error, 1)
	if err := j.service.Jobs.Spawn(func() { done <- read() }); err != nil {
		return job.ErrStopping
	}
	select {
	case err := <-done:
		return err
	case <-j.Ctx.Done():
		return context.Cause(j.Ctx)
	}
}

// checkTurn returns what keeps a queued backup from starting now; nil if nothing does.
func (s *Service) checkTurn(b record.Backup) error {
	if len(b.VM.Disks) > s.Admission.MaxExports() { // the configuration has changed since
		return fault.New(fault.NoFreePort, "backup %s: %d disks exceed the limit of %d exports", b.ID, len(b.VM.Disks), s.Admission.MaxExports())
	}
	if err := s.Admission.Turn.Acquire(s.Jobs.Work, 1); err != nil {
		return job.ErrStopping
	}
	defer s.Admission.Turn.Release(1)
	return s.Admission.RoomFor(b)
}

// orClosed returns why the repository of a queued backup is closed, if that is why a step of its start failed, or else err. A repository
// may stop answering, or be unmounted for maintenance, in the middle of a start.
func (s *Service) orClosed(b record.Backup, err error) error {
	if admission.NoRoom(err) {
		return err
	}
	if closed := s.Admission.Gate.Check(b.Repository); admission.IsClosed(closed) {
		return closed
	}
	return err
}

// refreshQueued updates the VM of a queued backup, as a start does.
func (s *Service) refreshQueued(ctx context.Context, b record.Backup) (record.Backup, error) {
	vm, err := s.Inventory.Fresh(ctx, b.VM.Name)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return b, err
	}
	if len(vm.Disks) == 0 {
		return b, fault.New(fault.VMHasNoDisks, "vm %q no longer has disks on record", vm.Name)
	}
	return s.Records.Change(b.ID, func(b *record.Backup) error {
		b.VM, b.RefreshError = vm.VM, vm.RefreshError
		return nil
	})
}

// verifyQueued checks the space, and the parent of a queued backup again: the check at the request may be old, or was put off because
// the repository was paused, and exporters are about to open the parent.
func (s *Service) verifyQueued(ctx context.Context, b record.Backup) error {
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return err
	}
	if err := repositories.CheckSpace(storage.FailFast(ctx), repo, s.Config.Space.Reserve, "space.reserve"); err != nil {
		return err
	}
	if b.Parent == "" {
		return s.Chains.ProveKey(ctx, b.VM, repo)
	}
	parent, err := s.Store.Backup(b.Parent)
	if err != nil {
		return ledger.NotFound(err)
	}
	return s.Chains.CheckParent(ctx, b.VM, repo, parent)
}

// dequeue leases the ports of a queued backup, if there is room.
func (s *Service) dequeue(b record.Backup) (record.Backup, error) {
	if err := s.checkTurn(b); err != nil { // the VM may have more disks now
		return b, err
	}
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return b, err
	}
	if err := s.Records.CheckWritable(s.Jobs.Work); err != nil {
		return b, err
	}
	var parent *record.Backup
	if b.Parent != "" {
		p, err := s.Store.Backup(b.Parent)
		if err != nil {
			return b, ledger.NotFound(err)
		}
		parent = &p
	}
	start := time.Now()
	if err := s.Admission.Turn.Acquire(s.Jobs.Work, 1); err != nil {
		return b, job.ErrStopping
	}
	defer s.Admission.Turn.Release(1)
	if err := s.Admission.RoomFor(b); err != nil {
		return b, err
	}
	failpoint.Reach("before dequeue")
	admitted, err := s.Records.Update(b.ID, func(b *record.Backup) error {
		b.State = record.Preparing
		return nil
	}, store.WithLeases(s.Ports.Choose, func(b *record.Backup, leases []record.Lease) {
		s.plan(b, repo, parent, leases)
		failpoint.Reach("committing dequeue")
	}))
	failpoint.Reach("after dequeue")
	s.Admission.PutBack(b.ID, errors.Is(err, nbd.ErrNoFreePort)) // its leases are on record, or it has none
	if err != nil {
		return b, s.prepareError(err, b.VM, repo)
	}
	s.Metrics.Phase(metrics.PhasePrepare, start)
	return admitted, nil
}
