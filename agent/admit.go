package agent

import (
	"context"
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// admit puts a backup on record and launches its run: with leases for all its disks where there is room, in the queue where
// there is none and the caller would rather wait. Who waits is served in order, so nobody passes while others do.
func (a *Agent) admit(p store.Preparation, queue bool) (record.Backup, *run, error) {
	start := time.Now()
	if err := a.admission.Acquire(a.jobs.work, 1); err != nil {
		return record.Backup{}, nil, errClosed()
	}
	defer a.admission.Release(1)
	if err := a.rested(p.Backup.VM); err != nil {
		return record.Backup{}, nil, err
	}
	b, existing, err := a.record(p, queue)
	if errors.Is(err, store.ErrUnsynced) {
		a.undoStray(p.Backup.VM.Name, err)
	}
	if err != nil || existing {
		return b, nil, err
	}
	a.logBirth(b)
	a.watchers.tell(Event{Kind: EventState, Backup: b})
	if b.State == record.Preparing {
		a.metrics.phase(phasePrepare, start)
	}
	r, err := a.launch(b)
	if err != nil {
		return b, nil, a.abandon(b, err)
	}
	return b, r, nil
}

// undoStray undoes a backup that is on record although its start has failed: nobody else would move it along.
func (a *Agent) undoStray(vm string, cause error) {
	active, err := a.store.Active()
	if err != nil {
		a.log.Error("what is on record of a start that failed is not known: the next start of the agent undoes it", logVM, vm, logError, err)
		return
	}
	for _, b := range active {
		if b.VM.Name != vm || a.run(b.ID) != nil {
			continue
		}
		r := newRun(a, b)
		r.doom = errorf(Internal, "backup %s: it could not be put on record: %w", b.ID, cause)
		_ = a.startRun(r) // refused when the agent stops: the next one undoes it
	}
}

// record writes the record of a new backup, preparing or queued. The caller holds admission.
func (a *Agent) record(p store.Preparation, queue bool) (b record.Backup, existing bool, err error) {
	full := a.roomFor(len(p.Backup.VM.Disks), "")
	if full == nil {
		b, existing, err = a.prepareNow(p)
		if !errors.Is(err, nbd.ErrNoFreePort) || !queue {
			return b, existing, err
		}
		full = err
	}
	if !queue || !noRoom(full) || len(p.Backup.VM.Disks) > a.maxExports() { // the last would wait for ever
		return record.Backup{}, false, full
	}
	return a.enqueue(p)
}

// noRoom says whether an error will pass when other backups end.
func noRoom(err error) bool {
	return AsError(err).has(Busy) || errors.Is(err, nbd.ErrNoFreePort)
}

// prepareNow leases all ports and writes the record. When every port seems taken, the memory of ports held by other
// processes may be out of date: it is dropped and the ports are looked at once more.
func (a *Agent) prepareNow(p store.Preparation) (record.Backup, bool, error) {
	failpoint.Reach("before prepare")
	b, existing, err := a.store.Prepare(p)
	failpoint.Reach("after prepare")
	if errors.Is(err, nbd.ErrNoFreePort) && a.foreign.count() > 0 {
		a.foreign.forget()
		b, existing, err = a.store.Prepare(p)
	}
	return b, existing, err
}

func (a *Agent) enqueue(p store.Preparation) (record.Backup, bool, error) {
	running, err := a.running()
	if err != nil {
		return record.Backup{}, false, err
	}
	if most := a.config.Limits.MaxQueued; running.queued >= most {
		e := errorf(QueueFull, "%d backups wait for their turn already, the most is %d", running.queued, most)
		e.Hint = "try again later, or raise limits.max_queued"
		return record.Backup{}, false, e
	}
	failpoint.Reach("before enqueue")
	defer failpoint.Reach("after enqueue")
	return a.store.Enqueue(p)
}

// load is what is going on now.
type load struct {
	backups, exports, queued int
	first                    string // the backup that has waited longest
}

func (a *Agent) running() (load, error) {
	active, err := a.store.Active()
	if err != nil {
		return load{}, AsError(err)
	}
	var l load
	for _, b := range active {
		if b.State == record.Queued {
			l.queued++
			continue
		}
		l.backups++
		l.exports += len(b.Runs)
	}
	restores, err := a.store.ActiveRestores()
	if err != nil {
		return load{}, AsError(err)
	}
	for _, r := range restores {
		l.exports += len(r.Disks)
	}
	next, found, err := a.store.NextQueued()
	if found {
		l.first = next.ID
	}
	return l, err
}

// roomFor says what keeps a backup of so many disks from running now; nil if nothing does. turn is the id of a backup that
// is queued, "" for a new one. The caller holds admission.
func (a *Agent) roomFor(disks int, turn string) error {
	l, err := a.running()
	if err != nil {
		return err
	}
	limits := a.config.Limits
	switch {
	case l.first != turn:
		e := errorf(Busy, "%d backups wait for their turn", l.queued)
		e.Hint = "ask to be queued, or try again later"
		return e
	case limits.MaxBackups > 0 && l.backups >= limits.MaxBackups:
		e := errorf(Busy, "%d backups run, as many as may", l.backups)
		e.Hint = "ask to be queued, try again later, or raise limits.max_backups"
		return e
	case limits.MaxExports > 0 && l.exports+disks > limits.MaxExports:
		e := errorf(Busy, "%d disks are being exported, and with %d more there would be more than the %d that may",
			l.exports, disks, limits.MaxExports)
		e.Hint = "ask to be queued, try again later, or raise limits.max_exports"
		return e
	}
	return nil
}

// maxExports is how many disks may be exported at the same time.
func (a *Agent) maxExports() int {
	if n := a.config.Limits.MaxExports; n > 0 {
		return min(n, a.ports.Len())
	}
	return a.ports.Len()
}

// turnInterval is how often a queued backup looks whether its turn has come, beside being told that another has ended:
// ports that cool down, or are held by other processes, come free without a word.
const turnInterval = 5 * time.Second

// waitForTurn waits until a queued backup is the first and there is room, and leases its ports then. What its disks are is
// looked up when the turn has come: hours may lie between that and the request.
func (r *run) waitForTurn(b record.Backup) (record.Backup, error) {
	fresh := false
	for {
		err := r.agent.hasTurn(b)
		if err == nil && !fresh {
			if b, err = r.agent.refreshQueued(r.ctx, b); err != nil {
				return b, err
			}
			fresh = true
		}
		if err == nil {
			err = r.agent.verifyQueued(r.ctx, b)
		}
		admitted := b
		if err == nil {
			admitted, err = r.agent.takeTurn(b)
		}
		if err == nil {
			r.agent.metrics.phase(phaseQueue, b.CreatedAt)
			return admitted, nil
		}
		if !noRoom(err) && !unwritable(err) { // nothing has begun, and both pass
			return b, err
		}
		if err := r.sleep(turnInterval); err != nil {
			return b, err
		}
	}
}

// hasTurn says what keeps a queued backup from running now; nil if nothing does.
func (a *Agent) hasTurn(b record.Backup) error {
	if len(b.VM.Disks) > a.maxExports() { // the configuration has changed meanwhile
		return errorf(NoFreePort, "backup %s: %d disks are more than the %d that may be exported", b.ID, len(b.VM.Disks), a.maxExports())
	}
	if err := a.admission.Acquire(a.jobs.work, 1); err != nil {
		return errStopping
	}
	defer a.admission.Release(1)
	return a.roomFor(len(b.VM.Disks), b.ID)
}

// refreshQueued brings the VM of a queued backup up to date, as a start does.
func (a *Agent) refreshQueued(ctx context.Context, b record.Backup) (record.Backup, error) {
	vm, err := a.freshVM(ctx, b.VM.Name)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return b, err
	}
	if len(vm.Disks) == 0 {
		return b, errorf(VMHasNoDisks, "vm %q has no disks on record any more", vm.Name)
	}
	return a.change(b.ID, func(b *record.Backup) error {
		b.VM, b.RefreshError = vm.VM, vm.refreshError
		return nil
	})
}

// verifyQueued proves once more that what a queued backup stands on is fit: that was looked at when it was asked for, and
// exporters are about to open it.
func (a *Agent) verifyQueued(ctx context.Context, b record.Backup) error {
	if b.Parent == "" {
		return nil
	}
	repo, err := a.findRepository(b.Repository)
	if err != nil {
		return err
	}
	parent, err := a.store.Backup(b.Parent)
	if err != nil {
		return notFound(err)
	}
	return a.unfitPoint(ctx, b.VM, repo, parent)
}

// takeTurn leases the ports of a queued backup, if there is room.
func (a *Agent) takeTurn(b record.Backup) (record.Backup, error) {
	if err := a.hasTurn(b); err != nil { // the VM may have more disks by now
		return b, err
	}
	repo, err := a.findRepository(b.Repository)
	if err != nil {
		return b, err
	}
	if err := a.checkState(a.jobs.work); err != nil {
		return b, err
	}
	if err := checkSpace(repo, a.config.Space.Reserve, "space.reserve"); err != nil {
		return b, err
	}
	var parent *record.Backup
	if b.Parent != "" {
		p, err := a.store.Backup(b.Parent)
		if err != nil {
			return b, notFound(err)
		}
		parent = &p
	}
	start := time.Now()
	if err := a.admission.Acquire(a.jobs.work, 1); err != nil {
		return b, errStopping
	}
	defer a.admission.Release(1)
	if err := a.roomFor(len(b.VM.Disks), b.ID); err != nil {
		return b, err
	}
	failpoint.Reach("before dequeue")
	admitted, err := a.changeRecord(b.ID, func(b *record.Backup) error {
		b.State = record.Preparing
		return nil
	}, store.WithLeases(a.choosePorts, func(b *record.Backup, leases []record.Lease) {
		a.plan(b, repo, parent, leases)
		failpoint.Reach("committing dequeue")
	}))
	failpoint.Reach("after dequeue")
	if err != nil {
		return b, a.prepareError(err, b.VM, repo)
	}
	a.metrics.phase(phasePrepare, start)
	return admitted, nil
}
