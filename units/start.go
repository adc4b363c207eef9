package units

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"

	"github.com/sendense/backup-agent/units/pair"
)

// Start starts a pair and returns when its command serves. The Unit has name, InvocationID and MainPID only; Get returns the rest.
// After an error, also if ctx ends, nothing of the pair stays loaded. The error is a *StartError, unless the Spec is invalid.
func (m *Manager) Start(ctx context.Context, s pair.Spec) (Unit, error) {
	if err := s.Check(m.options.User); err != nil {
		return Unit{}, err
	}
	select {
	case m.starts <- struct{}{}:
		defer func() { <-m.starts }()
	case <-ctx.Done():
		return Unit{}, &StartError{Unit: s.Name, Err: ctx.Err()}
	}
	defer m.suppress(s.Name)()
	for attempt := 1; ; attempt++ {
		u, result, err := m.startOnce(ctx, s)
		if err == nil && result == jobDone {
			m.tell(started(u))
			return u, nil
		}
		failure := m.failStart(ctx, s, result, err)
		if !errors.Is(err, ErrMainUnknown) || failure.Cleanup != nil || attempt == startAttempts || ctx.Err() != nil {
			return Unit{}, failure
		}
		m.log.Warn("systemd did not find the main process of a unit; the unit is started again", "unit", s.Name)
	}
}

// startOnce starts a pair and returns the result of its start job. If that is jobDone, systemd knows the main process.
func (m *Manager) startOnce(ctx context.Context, s pair.Spec) (u Unit, result string, err error) {
	if result, err = m.runStart(ctx, s); err != nil || result != jobDone {
		return u, result, err
	}
	m.clearTouched(s.Name)
	err = m.retry(ctx, func(l *link) (err error) {
		if u, err = l.readRun(ctx, s.Name); err == nil && s.Forks() {
			err = l.checkMain(ctx, u)
		}
		return err
	})
	return u, result, err
}

// jobDone is the result of a job that succeeded. The others: canceled, timeout, failed, dependency,
// skipped.
const jobDone = "done"

// runStart requests the start, again if the connection breaks, and waits for the job's result.
func (m *Manager) runStart(ctx context.Context, s pair.Spec) (string, error) {
	service, socket := s.Properties(m.options.User, m.options.Slice)
	aux := []systemd.PropertyCollection{{Name: s.Name + pair.SocketSuffix, Properties: socket}}
	for asked := false; ; asked = true {
		l, err := m.connected(ctx)
		if err != nil {
			return "", err
		}
		result := make(chan string, 1) // buffered: go-systemd's dispatcher must never wait for us
		m.reached("unit: before start")
		err = l.job(ctx, func() error {
			_, err := l.StartTransientUnitAux(ctx, s.Name+pair.ServiceSuffix, "fail", service, aux, result)
			return err
		})
		m.reached("unit: start asked")
		switch {
		case err == nil:
			return m.awaitStart(ctx, l, s.Name, result)
		case busErrorName(err) == busUnitExists && asked:
			// An earlier request arrived, only its answer was lost.
			return m.awaitStart(ctx, l, s.Name, nil)
		case busErrorName(err) == busUnitExists:
			return "", fmt.Errorf("%w: %w", ErrExists, err)
		case !isDisconnect(err) || ctx.Err() != nil:
			return "", err
		}
		// The connection broke: the request may or may not have arrived. To repeat it is safe, because
		// a name starts once: a second request then finds that the unit exists.
		select {
		case <-l.lost:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// awaitStart waits for the job's result: from its signal or, if that is lost, from the unit.
func (m *Manager) awaitStart(ctx context.Context, l *link, name string, result <-chan string) (string, error) {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	lost := l.lost
	for {
		select {
		case r := <-result:
			return r, nil
		case <-ctx.Done():
			return "", ctx.Err()
		case <-m.ctx.Done():
			return "", ErrClosed
		case <-lost:
			lost = nil
		case <-tick.C:
		}
		u, err := m.Get(ctx, name)
		switch {
		case errors.Is(err, ErrNotFound):
			return "", fmt.Errorf("unit %s: disappeared during its start: %w", name, ErrDisconnected)
		case err != nil:
			return "", err
		case u.ActiveState == "active":
			return jobDone, nil
		case u.ActiveState == "failed":
			return "failed", nil
		case u.SocketState == "failed":
			return "dependency", nil
		}
	}
}

// failStart finds the reason, removes the pair, and returns a StartError.
func (m *Manager) failStart(ctx context.Context, s pair.Spec, result string, cause error) *StartError {
	failure := &StartError{Unit: s.Name, Program: s.Argv[0], JobResult: result, Err: cause}
	if errors.Is(cause, ErrExists) || errors.Is(cause, ErrClosed) {
		return failure // the unit is not ours, or there is no connection any more
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if u, err := m.Get(ctx, s.Name); err == nil {
		failure.Result, failure.ExitStatus = u.Result, u.StartStatus
		if u.ExecMainStatus != 0 {
			failure.ExitStatus = u.ExecMainStatus
		}
		if u.SocketResult != "" && u.SocketResult != "success" {
			failure.Result = u.SocketResult
		}
	}
	if result != "" {
		failure.Journal, _ = m.Journal(ctx, s.Name, journalLines)
	}
	if result == "dependency" && failure.Err == nil && addressInUse(s.ListenAddress, failure.Journal) {
		failure.Err = fmt.Errorf("%s: %w", s.ListenAddress, ErrAddressInUse)
	}
	failure.Cleanup = m.abandon(ctx, s.Name)
	return failure
}

// addressInUse reports whether a socket unit failed because its address is in use: its Result is
// "resources" for every reason. It tries to listen, and reads the journal in case the address has become
// free meanwhile.
func addressInUse(address string, journal []string) bool {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		_ = listener.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return true
	}
	for _, line := range journal {
		if strings.Contains(line, "Address already in use") {
			return true
		}
	}
	return false
}

// abandon removes a pair whose start failed. No client knows it yet, so it needs no clean end: its
// processes are killed, so that one that hangs does not block us.
func (m *Manager) abandon(ctx context.Context, name string) error {
	_ = m.Kill(ctx, name) // most often there is no process left
	return m.Remove(ctx, name)
}

// Kill sends SIGKILL to all processes of a pair. It does not wait for their end: a process that waits for storage that hangs may end much
// later. It is no error if the pair has no process or is not loaded.
func (m *Manager) Kill(ctx context.Context, name string) error {
	return m.retry(ctx, func(l *link) error {
		m.reached("unit: before SIGKILL")
		err := l.call(ctx, func() error {
			return l.KillUnitWithTarget(ctx, name+pair.ServiceSuffix, systemd.All, int32(syscall.SIGKILL))
		})
		m.reached("unit: SIGKILL sent")
		switch busErrorName(err) {
		case busNoSuchProc, busUnixNoProc, busNoSuchUnit:
			return nil
		}
		return err
	})
}
