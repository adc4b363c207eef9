package snatest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sendense/backup-agent/nbd"
)

var (
	errKilled     = errors.New("sbc was killed")
	errClosed     = fmt.Errorf("the simulator was closed: %w", errKilled)
	errTerminated = errors.New("sbc got SIGTERM")
	// errRemoval ends SBC with log.Fatal, after all was reported.
	errRemoval = errors.New("failed to stop nbdkit servers: the snapshot could not be removed: the operation is not allowed in the current state")
)

// run is one SBC process.
type run struct {
	server   *Server
	request  startBody
	vm       VM
	lookup   error // what finding the VM came to
	faults   Faults
	callback *callback
	log      *slog.Logger
	targets  map[string]nbd.ParsedTarget
	snapshot *snapshot
	kill     context.CancelCauseFunc

	// Guarded by server.mu.
	state   *RunState // see update
	handles []*handle // all ever opened
	lost    []*handle // open, and nobody knows them
	garbage int64     // bytes allocated since the last collection
	signals signals   // what SIGTERM does

	reports sync.Mutex // of what follows
	tracker tracker
}

// signals is which of SBC's two handlers of SIGTERM are there: none before its
// nbdkits run, then one that removes the snapshot and exits, and from the first
// connection on another one beside it that only disconnects and exits.
type signals struct{ removes, races bool }

// live is the whole life of the process.
func (r *run) live(ctx context.Context) {
	defer r.callback.close()
	defer context.AfterFunc(ctx, r.breakOff)()
	err := r.cycle(ctx)
	if r.snapshot != nil && r.cleansUp(ctx, err) {
		if ctx.Err() == nil {
			err = errors.Join(err, r.pass(ctx, "remove"))
		}
		err = errors.Join(err, r.removeSnapshot())
	}
	killed, terminated := errors.Is(context.Cause(ctx), errKilled), errors.Is(context.Cause(ctx), errTerminated)
	r.closeAll()
	r.update(func(s *RunState) {
		s.Done, s.Killed, s.Terminated, s.Phase = true, killed, terminated, "finished"
		if err != nil {
			s.Phase, s.Error = "failed", err.Error()
		}
	})
	r.log.Info("sbc ended", "error", err, "killed", killed, "terminated", terminated)
}

// cleansUp says whether SBC comes to the removal of its snapshot: not when it is
// killed, not when an nbdkit did not start, and after a SIGTERM only if the
// handler that removes it is alone or faster.
func (r *run) cleansUp(ctx context.Context, err error) bool {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTerminated):
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		return r.signals.removes && (!r.signals.races || r.faults.TermRemoves)
	case errors.Is(cause, errKilled), errors.Is(err, errNbdkit):
		return false
	}
	return true
}

func (r *run) removeSnapshot() error {
	r.phase("removing snapshot")
	if r.faults.RemoveFails {
		return errRemoval
	}
	r.server.snapshots.remove(r.snapshot)
	return nil
}

// cycle is the part that a failure ends, whereupon SBC removes its snapshot.
func (r *run) cycle(ctx context.Context) error {
	if err := r.login(ctx); err != nil {
		return err
	}
	if r.snapshot == nil {
		if err := r.takeSnapshot(ctx, false); err != nil {
			return err
		}
	}
	r.stage("Creating Snapshot", 15)
	if r.faults.NbdkitFails {
		return errNbdkit
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.snapshot.gone, func() { cancel(errSnapshotGone) })()
	r.handlesSignals(false)

	var skipped []error
	r.targets, skipped = nbd.ParseTargets(r.request.NBDTargets)
	for _, err := range skipped {
		r.log.Warn("invalid NBD target format", "error", err)
	}
	for position := range r.snapshot.disks {
		err := r.copyDisk(ctx, position)
		if err != nil && r.snapshot.gone.Err() != nil {
			err = errSnapshotGone // whatever it looked like from where it was met
		}
		if err != nil {
			return fmt.Errorf("disk %d: %w", position, err)
		}
	}
	return nil
}

var errNbdkit = errors.New("timeout waiting for pidfile to appear: nbdkit did not start")

// handlesSignals adds a handler of SIGTERM.
func (r *run) handlesSignals(connected bool) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.signals.removes, r.signals.races = true, r.signals.races || connected
}

// login is all that SBC does before it tells anybody anything: a wrong password
// or an unknown VM ends it without a word.
func (r *run) login(ctx context.Context) error {
	r.phase("login")
	if err := r.pass(ctx, "login"); err != nil {
		return err
	}
	if r.faults.LoginFails {
		return errors.New("failed to log in to vCenter: cannot complete login due to an incorrect user name or password")
	}
	return r.lookup
}

// takeSnapshot removes the snapshots of other backups of the VM first: SBC takes
// any "sbak-*" for a leftover. That it cannot is logged and no more. An early
// snapshot is taken before SBC would have logged in, so it says nothing of it yet.
func (r *run) takeSnapshot(ctx context.Context, early bool) error {
	r.phase("snapshot")
	if err := r.pass(ctx, "snapshot"); err != nil {
		return err
	}
	// The VM as it is now, not as it was at the POST: it may have grown.
	if vm, known := r.server.vmAt(r.vm.Path); known {
		r.vm = vm
	}
	if r.faults.RemoveFails {
		r.log.Warn("failed to delete old snapshots", "error", errRemoval)
	} else if removed := r.server.snapshots.removeOf(r.vm.Path, snapshotPrefix(r.request.JobID)); len(removed) > 0 {
		r.log.Warn("removed existing snapshots", "names", removed)
	}
	if !early {
		r.stage("Initializing", 5)
		r.stage("Creating Snapshot", 10)
	}
	if r.faults.QuiesceFails {
		return errors.New("an error occurred while quiescing the virtual machine")
	}
	taken, err := r.server.createSnapshot(ctx, r.vm, r.request.JobID)
	if err != nil {
		return err
	}
	r.snapshot = taken
	r.update(func(s *RunState) {
		s.Snapshot, s.VM = taken.Name, r.vm.Path
		for i, disk := range taken.disks {
			s.Disks = append(s.Disks, DiskState{Position: i, Key: disk.Key, ChangeID: disk.changeID})
		}
	})
	return nil
}

func (r *run) phase(name string) {
	r.update(func(s *RunState) { s.Phase = name })
	r.log.Info(name)
}

// update changes the run's visible state and wakes whoever waits for it.
func (r *run) update(change func(*RunState)) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	change(r.state)
	r.server.notify()
}

func (r *run) updateDisk(position int, change func(*DiskState)) {
	r.update(func(s *RunState) { change(&s.Disks[position]) })
}

// die is the process's end by SIGKILL: no clean-up, its snapshot stays.
func (r *run) die() error {
	r.kill(errKilled)
	return errKilled
}

func (r *run) linger(ctx context.Context, last bool) error {
	if !last || r.faults.Linger == 0 {
		return nil
	}
	r.phase("lingering")
	return sleep(ctx, min(r.faults.Linger, 24*time.Hour))
}
