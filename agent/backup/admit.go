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
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// admit puts a backup on record and launches its run: with leases for all its disks where there is room, in the queue where
// there is none and the caller would rather wait. Who waits is served in order, so nobody passes while others do.
func (s *Service) admit(p store.Preparation, queue bool) (record.Backup, *run, error) {
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
	r, err := s.Launch(b)
	if err != nil {
		return b, nil, s.abandon(b, err)
	}
	return b, r, nil
}

// undoStray undoes a backup that is on record although its start has failed: nobody else would move it along.
func (s *Service) undoStray(vm string, cause error) {
	active, err := s.Store.Active()
	if err != nil {
		s.Log.Error("cannot read the record of a failed start; the agent undoes the backup at its next start", logkey.VM, vm, logkey.Error, err)
		return
	}
	for _, b := range active {
		if b.VM.Name != vm || s.run(b.ID) != nil {
			continue
		}
		r := newRun(s, b)
		r.doom = fault.New(fault.Internal, "backup %s: its record could not be written: %w", b.ID, cause)
		_ = s.startRun(r) // refused when the agent stops: the next one undoes it
	}
}

// record writes the record of a new backup, preparing or queued. The caller holds admission.
func (s *Service) record(p store.Preparation, queue bool) (b record.Backup, existing bool, err error) {
	full := s.Admission.RoomFor(len(p.Backup.VM.Disks), "")
	if full == nil {
		b, existing, err = s.prepareNow(p)
		if !errors.Is(err, nbd.ErrNoFreePort) || !queue {
			return b, existing, err
		}
		full = err
	}
	if !queue || !admission.NoRoom(full) || len(p.Backup.VM.Disks) > s.Admission.MaxExports() { // the last would wait for ever
		return record.Backup{}, false, full
	}
	return s.enqueue(p)
}

// prepareNow leases all ports and writes the record. When every port seems taken, the memory of ports held by other
// processes may be out of date: it is dropped and the ports are looked at once more.
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
	running, err := s.Admission.Running()
	if err != nil {
		return record.Backup{}, false, err
	}
	if most := s.Config.Limits.MaxQueued; running.Queued >= most {
		e := fault.New(fault.QueueFull, "the queue is full: %d backups are queued, the limit is %d", running.Queued, most)
		e.Hint = "try again later, or raise limits.max_queued"
		return record.Backup{}, false, e
	}
	failpoint.Reach("before enqueue")
	defer failpoint.Reach("after enqueue")
	return s.Store.Enqueue(p)
}

// turnInterval is how often a queued backup looks whether its turn has come, beside being told that another has ended:
// ports that cool down, or are held by other processes, come free without a word.
const turnInterval = 5 * time.Second

// waitForTurn waits until a queued backup is the first and there is room, and leases its ports then. What its disks are is
// looked up when the turn has come: hours may lie between that and the request.
func (r *run) waitForTurn(b record.Backup) (record.Backup, error) {
	fresh := false
	for {
		err := r.service.hasTurn(b)
		if err == nil && !fresh {
			if b, err = r.service.refreshQueued(r.Ctx, b); err != nil {
				return b, err
			}
			fresh = true
		}
		if err == nil {
			err = r.service.verifyQueued(r.Ctx, b)
		}
		admitted := b
		if err == nil {
			admitted, err = r.service.takeTurn(b)
		}
		if err == nil {
			r.service.Metrics.Phase(metrics.PhaseQueue, b.CreatedAt)
			return admitted, nil
		}
		if !admission.NoRoom(err) && !fault.Unwritable(err) { // nothing has begun, and both pass
			return b, err
		}
		if err := r.Sleep(turnInterval); err != nil {
			return b, err
		}
	}
}

// hasTurn says what keeps a queued backup from running now; nil if nothing does.
func (s *Service) hasTurn(b record.Backup) error {
	if len(b.VM.Disks) > s.Admission.MaxExports() { // the configuration has changed meanwhile
		return fault.New(fault.NoFreePort, "backup %s: %d disks exceed the limit of %d exports", b.ID, len(b.VM.Disks), s.Admission.MaxExports())
	}
	if err := s.Admission.Turn.Acquire(s.Jobs.Work, 1); err != nil {
		return job.ErrStopping
	}
	defer s.Admission.Turn.Release(1)
	return s.Admission.RoomFor(len(b.VM.Disks), b.ID)
}

// refreshQueued brings the VM of a queued backup up to date, as a start does.
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

// verifyQueued proves once more that what a queued backup stands on is fit: that was looked at when it was asked for, and
// exporters are about to open it.
func (s *Service) verifyQueued(ctx context.Context, b record.Backup) error {
	if b.Parent == "" {
		return nil
	}
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return err
	}
	parent, err := s.Store.Backup(b.Parent)
	if err != nil {
		return ledger.NotFound(err)
	}
	return s.Chains.CheckParent(ctx, b.VM, repo, parent)
}

// takeTurn leases the ports of a queued backup, if there is room.
func (s *Service) takeTurn(b record.Backup) (record.Backup, error) {
	if err := s.hasTurn(b); err != nil { // the VM may have more disks by now
		return b, err
	}
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return b, err
	}
	if err := s.Records.CheckWritable(s.Jobs.Work); err != nil {
		return b, err
	}
	if err := repositories.CheckSpace(repo, s.Config.Space.Reserve, "space.reserve"); err != nil {
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
	if err := s.Admission.RoomFor(len(b.VM.Disks), b.ID); err != nil {
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
	if err != nil {
		return b, s.prepareError(err, b.VM, repo)
	}
	s.Metrics.Phase(metrics.PhasePrepare, start)
	return admitted, nil
}
