package snatest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sendense/backup-agent/nbd"
)

var (
	errKilled = errors.New("sbc was killed")
	errClosed = fmt.Errorf("the simulator was closed: %w", errKilled)
)

// run is one SBC process.
type run struct {
	server   *Server
	request  startBody
	vm       VM
	known    bool // whether the vCenter has such a VM
	faults   Faults
	callback *callback
	log      *slog.Logger
	targets  map[string]nbd.ParsedTarget
	snapshot *snapshot
	state    *RunState // guarded by server.mu, see update
	kill     context.CancelCauseFunc
}

// live is the whole life of the process.
func (r *run) live(ctx context.Context) {
	defer r.callback.close()
	err := r.cycle(ctx)
	killed := errors.Is(context.Cause(ctx), errKilled)
	if !killed && r.snapshot != nil {
		err = errors.Join(err, r.pass(ctx, "remove"))
		r.phase("removing snapshot")
		r.server.snapshots.remove(r.snapshot)
	}
	r.update(func(s *RunState) {
		s.Done, s.Killed, s.Phase = true, killed, "finished"
		if err != nil {
			s.Phase, s.Error = "failed", err.Error()
		}
	})
	r.log.Info("sbc ended", "error", err, "killed", killed)
}

// cycle is the part that a failure ends, whereupon SBC removes its snapshot.
func (r *run) cycle(ctx context.Context) error {
	if err := r.login(ctx); err != nil {
		return err
	}
	if r.snapshot == nil {
		if err := r.takeSnapshot(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.snapshot.gone, func() { cancel(errSnapshotGone) })()

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

func (r *run) login(ctx context.Context) error {
	r.phase("login")
	if err := r.pass(ctx, "login"); err != nil {
		return err
	}
	if r.faults.LoginFails {
		return errors.New("failed to log in to vCenter: incorrect user name or password")
	}
	if !r.known {
		return fmt.Errorf("virtual machine %s not found at %q", r.request.VMName, r.request.VMPath)
	}
	return nil
}

// takeSnapshot removes the snapshots of other backups of the VM first: SBC takes
// any "sbak-*" for a leftover.
func (r *run) takeSnapshot(ctx context.Context) error {
	r.phase("snapshot")
	if err := r.pass(ctx, "snapshot"); err != nil {
		return err
	}
	if removed := r.server.snapshots.removeOf(r.vm.Path); len(removed) > 0 {
		r.log.Warn("removed existing snapshots", "names", removed)
	}
	// The VM as it is now, not as it was at the POST: it may have grown.
	if vm, known := r.server.vmAt(r.vm.Path); known {
		r.vm = vm
	}
	taken, err := r.server.createSnapshot(ctx, r.vm, r.request.JobID)
	if err != nil {
		return err
	}
	r.snapshot = taken
	r.update(func(s *RunState) {
		s.Snapshot = taken.Name
		for i, disk := range taken.disks {
			s.Disks = append(s.Disks, DiskState{Position: i, Key: disk.Key, ChangeID: disk.changeID})
		}
	})
	r.server.reportProgress(r.request.JobID, progressReport{Phase: "Creating Snapshot", Percentage: 15})
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
