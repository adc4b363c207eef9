package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
	"github.com/sendense/backup-agent/nbd"
)

// signals says which of SBC's two handlers of SIGTERM are installed: none before
// its nbdkits run, then one that removes the snapshot and exits, and from the first
// connection on a second one that only disconnects and exits.
type signals struct{ removes, races bool }

// Run is the whole life of the process.
func (r *Client) Run(ctx context.Context) {
	defer r.callback.close()
	defer context.AfterFunc(ctx, r.breakOff)()
	err := r.cycle(ctx)
	if r.snapshot != nil && r.cleansUp(ctx, err) {
		if ctx.Err() == nil {
			err = errors.Join(err, r.pass(ctx, "remove"))
		}
		err = errors.Join(err, r.removeSnapshot())
	}
	killed, terminated := errors.Is(context.Cause(ctx), ErrKilled), errors.Is(context.Cause(ctx), ErrTerminated)
	r.closeAll()
	r.update(func(s *RunState) {
		s.Done, s.Killed, s.Terminated, s.Phase = true, killed, terminated, "finished"
		if err != nil {
			s.Phase, s.Error = "failed", err.Error()
		}
	})
	r.log.Info("sbc ended", "error", err, "killed", killed, "terminated", terminated)
}

// cleansUp says whether SBC removes its snapshot: not when it is killed, not when
// an nbdkit did not start, and after a SIGTERM only if the handler that removes it
// is the only one, or faster.
func (r *Client) cleansUp(ctx context.Context, err error) bool {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrTerminated):
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.signals.removes && (!r.signals.races || r.faults.TermRemoves)
	case errors.Is(cause, ErrKilled), errors.Is(err, errNbdkit):
		return false
	}
	return true
}

func (r *Client) removeSnapshot() error {
	r.phase("removing snapshot")
	if r.faults.RemoveFails {
		return errRemoval
	}
	r.host.VCenter.RemoveSnapshot(r.snapshot)
	return nil
}

// cycle is the part after which SBC removes its snapshot, also if it fails.
func (r *Client) cycle(ctx context.Context) error {
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
	defer context.AfterFunc(r.snapshot.Gone, func() { cancel(vcenter.ErrSnapshotGone) })()
	r.handlesSignals(false)

	var skipped []error
	r.targets, skipped = nbd.ParseTargets(r.request.NBDTargets)
	for _, err := range skipped {
		r.log.Warn("invalid NBD target format", "error", err)
	}
	for position := range r.snapshot.Disks {
		err := r.copyDisk(ctx, position)
		if err != nil && r.snapshot.Gone.Err() != nil {
			err = vcenter.ErrSnapshotGone // the cause, whatever error it led to
		}
		if err != nil {
			return fmt.Errorf("disk %d: %w", position, err)
		}
	}
	return nil
}

var errNbdkit = errors.New("timeout waiting for pidfile to appear: nbdkit did not start")

// handlesSignals adds a handler of SIGTERM.
func (r *Client) handlesSignals(connected bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signals.removes, r.signals.races = true, r.signals.races || connected
}

// login is all that SBC does before its first report: after a wrong password or an
// unknown VM it ends without a report.
func (r *Client) login(ctx context.Context) error {
	r.phase("login")
	if err := r.pass(ctx, "login"); err != nil {
		return err
	}
	if r.faults.LoginFails {
		return errors.New("failed to log in to vCenter: cannot complete login due to an incorrect user name or password")
	}
	return r.lookup
}

// takeSnapshot first removes the snapshots of other backups of the VM: SBC treats
// any "sbak-*" as a leftover. It only logs if that fails. An early snapshot is
// taken before the login, so it is not reported yet.
func (r *Client) takeSnapshot(ctx context.Context, early bool) error {
	r.phase("snapshot")
	if err := r.pass(ctx, "snapshot"); err != nil {
		return err
	}
	// The VM as it is now, not as it was at the POST: it may have grown.
	if vm, known := r.host.VCenter.At(r.vm.Path); known {
		r.vm = vm
	}
	if r.faults.RemoveFails {
		r.log.Warn("failed to delete old snapshots", "error", errRemoval)
	} else if removed := r.host.VCenter.RemoveSnapshots(r.vm.Path, snapshotPrefix(r.request.JobID)); len(removed) > 0 {
		r.log.Warn("removed existing snapshots", "names", removed)
	}
	if !early {
		r.stage("Initializing", 5)
		r.stage("Creating Snapshot", 10)
	}
	if r.faults.QuiesceFails {
		return errors.New("an error occurred while quiescing the virtual machine")
	}
	taken, err := r.host.VCenter.TakeSnapshot(ctx, r.vm, snapshotPrefix(r.request.JobID)+r.request.JobID, r.request.JobID)
	if err != nil {
		return err
	}
	r.snapshot = taken
	r.update(func(s *RunState) {
		s.Snapshot, s.VM = taken.Name, r.vm.Path
		for i, disk := range taken.Disks {
			s.Disks = append(s.Disks, DiskState{Position: i, Key: disk.Key, ChangeID: disk.ChangeID})
		}
	})
	return nil
}

func (r *Client) phase(name string) {
	r.update(func(s *RunState) { s.Phase = name })
	r.log.Info(name)
}

// update changes the visible state, and reports that it has changed.
func (r *Client) update(change func(*RunState)) {
	r.mu.Lock()
	change(&r.state)
	r.mu.Unlock()
	r.host.Changed()
}

func (r *Client) updateDisk(position int, change func(*DiskState)) {
	r.update(func(s *RunState) { change(&s.Disks[position]) })
}

// die ends the process as SIGKILL does: without cleanup, its snapshot stays.
func (r *Client) die() error {
	r.kill(ErrKilled)
	return ErrKilled
}

func (r *Client) linger(ctx context.Context, last bool) error {
	if !last || r.faults.Linger == 0 {
		return nil
	}
	r.phase("lingering")
	return sleep(ctx, min(r.faults.Linger, 24*time.Hour))
}

// pass waits at a point while it is held.
func (r *Client) pass(ctx context.Context, point string) error {
	gate := r.host.Points.Gate(point)
	if gate == nil {
		return nil
	}
	r.update(func(s *RunState) { s.HeldAt = point })
	defer r.update(func(s *RunState) { s.HeldAt = "" })
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// snapshotPrefix begins the snapshot names of a job's kind. SBC removes only those of
// its own kind before it takes one.
func snapshotPrefix(jobID string) string {
	if strings.HasPrefix(jobID, "backup-") {
		return "sbak-"
	}
	return "srep-"
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
