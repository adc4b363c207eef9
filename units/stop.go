package units

import (
	"context"
	"fmt"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"

	"github.com/sendense/backup-agent/units/pair"
)

// Terminate sends SIGTERM to the service's main process and waits until it has ended. It never sends
// SIGKILL: if ctx ends first, the process continues to end, and Terminate may be called again. The pair
// stays loaded, so that the returned Result, exit status, InvocationID and counters can be recorded
// before Remove. For a pair that has already ended, Terminate returns its state.
func (m *Manager) Terminate(ctx context.Context, name string) (Unit, error) {
	u, err := m.Get(ctx, name)
	if err != nil || !u.Running() {
		return u, err
	}
	invocation, target := u.InvocationID, systemd.Main
	if u.MainPID == 0 { // systemd does not know it
		target = systemd.All
	}
	for pause := firstNudge; ; pause = min(2*pause, lastNudge) {
		m.reached("unit: before SIGTERM")
		err := m.sendTerm(ctx, name, target)
		m.reached("unit: SIGTERM sent")
		if err != nil {
			return u, fmt.Errorf("unit %s: send SIGTERM: %w", name, err)
		}
		limit, cancel := context.WithTimeout(ctx, pause)
		now, err := m.await(limit, name, func(u Unit) bool { return !u.Running() || u.InvocationID != invocation })
		again := limit.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil && now.InvocationID == invocation:
			return now, nil
		case err == nil:
			return u, fmt.Errorf("unit %s: was started again by another program; the result of its first run is lost", name)
		case !again:
			return u, fmt.Errorf("unit %s: wait for its end after SIGTERM: %w", name, err)
		}
	}
}

// SIGTERM is sent again after these pauses; the first is doubled up to the last. qemu-nbd loses a
// SIGTERM that arrives after it has told its parent that it serves and before its main loop (qemu-nbd.c
// sets state = RUNNING there, QEMU 7.2), and would never end. A process that is already ending ignores
// further ones.
const (
	firstNudge = 100 * time.Millisecond
	lastNudge  = 5 * time.Second
)

// sendTerm sends SIGTERM to processes of the service. It is no error if there are none (any more).
func (m *Manager) sendTerm(ctx context.Context, name string, to systemd.Who) error {
	return m.retry(ctx, func(l *link) error {
		err := l.call(ctx, func() error { return l.KillUnitWithTarget(ctx, name+pair.ServiceSuffix, to, int32(syscall.SIGTERM)) })
		switch busErrorName(err) {
		case busNoSuchProc, busUnixNoProc, busNoSuchUnit:
			return nil
		}
		return err
	})
}

// Remove stops both halves, resets their results, and waits until both are unloaded. A command that
// still runs gets SIGTERM, and SIGKILL after the Spec's StopTimeout. It is no error if the pair is not
// loaded.
func (m *Manager) Remove(ctx context.Context, name string) error {
	if err := pair.CheckName(name); err != nil {
		return err
	}
	defer m.suppress(name)()
	for {
		err := m.retry(ctx, func(l *link) error { return m.stop(ctx, l, name) })
		if err != nil {
			return fmt.Errorf("unit %s: stop: %w", name, err)
		}
		gone, err := m.forget(ctx, name)
		if gone && m.clearTouched(name) {
			m.tell(Event{Kind: EventRemoved, Name: name})
		}
		if gone || err != nil {
			return err
		}
	}
}

// stop stops both halves. It stops the socket first: the service requires it, so one transaction stops
// both. In that transaction the service is stopped first, because it is ordered after its socket, but
// no client can start it again: systemd rejects connections to a socket that has a stop job. The second
// request joins the job of the first; it is for a service that has lost its socket.
func (m *Manager) stop(ctx context.Context, l *link, name string) error {
	units := []string{name + pair.SocketSuffix, name + pair.ServiceSuffix}
	results := make([]chan string, len(units))
	for i, unit := range units {
		result := make(chan string, 1)
		m.reached("unit: before stop")
		err := l.job(ctx, func() error {
			_, err := l.StopUnitContext(ctx, unit, "replace", result)
			return err
		})
		m.reached("unit: stop asked")
		switch {
		case err == nil:
			results[i] = result
		case busErrorName(err) != busNoSuchUnit:
			return err
		}
	}
	for i, unit := range units {
		if results[i] == nil {
			continue
		}
		if err := m.awaitStop(ctx, l, unit, results[i]); err != nil {
			return err
		}
	}
	return nil
}

// awaitStop waits for the stop job, or until the unit's state shows that it is stopped.
func (m *Manager) awaitStop(ctx context.Context, l *link, unit string, result <-chan string) error {
	pause := firstNudge
	tick := time.NewTimer(pause)
	defer tick.Stop()
	for {
		select {
		case <-result:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-l.lost:
			return ErrDisconnected
		case <-m.ctx.Done():
			return ErrClosed
		case <-tick.C:
			if down, err := l.down(ctx, unit); down || err != nil { // its signal was lost
				return err
			}
			// To all processes: a service that is stopped during its start, for example that of an agent that
			// was killed, has no main process yet that systemd knows.
			if err := m.sendTerm(ctx, pairName(unit), systemd.All); err != nil {
				return err
			}
			pause = min(2*pause, lastNudge)
			tick.Reset(pause)
		}
	}
}

// down reports whether a unit is stopped.
func (l *link) down(ctx context.Context, unit string) (down bool, err error) {
	err = l.call(ctx, func() error {
		state, err := l.GetUnitPropertyContext(ctx, unit, "ActiveState")
		if err == nil {
			down = state.Value.Value() == "inactive" || state.Value.Value() == "failed"
		}
		return err
	})
	return down, err
}

// forget resets the failed state, which alone keeps a stopped unit loaded, and reports whether both
// halves are unloaded. systemd unloads units a moment later.
func (m *Manager) forget(ctx context.Context, name string) (bool, error) {
	err := m.retry(ctx, func(l *link) error {
		for _, unit := range []string{name + pair.ServiceSuffix, name + pair.SocketSuffix} {
			m.reached("unit: before reset")
			err := l.call(ctx, func() error { return l.ResetFailedUnitContext(ctx, unit) })
			m.reached("unit: reset")
			if err != nil && busErrorName(err) != busNoSuchUnit {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("unit %s: reset: %w", name, err)
	}
	limit, cancel := context.WithTimeout(ctx, recheck)
	defer cancel()
	err = m.awaitGone(limit, name)
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() == nil && limit.Err() != nil:
		return false, nil // another program started it again, or systemd is slow: stop it again
	}
	return false, fmt.Errorf("unit %s: wait until it is unloaded: %w", name, err)
}
