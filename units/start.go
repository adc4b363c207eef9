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

// Start starts a pair and returns when its command serves: the Unit has name, InvocationID and MainPID, and Get tells the rest. On an error, a *StartError unless the
// Spec itself is wrong, nothing of the pair stays loaded; when ctx ends meanwhile, too.
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
	result, err := m.runStart(ctx, s)
	if err == nil && result == jobDone {
		var u Unit
		m.clearTouched(s.Name)
		err = m.retry(ctx, func(l *link) (err error) {
			u, err = l.readLife(ctx, s.Name)
			return err
		})
		if err == nil {
			m.tell(started(u))
			return u, nil
		}
	}
	return Unit{}, m.failStart(ctx, s, result, err)
}

// jobDone is the result of a job that succeeded. The others: canceled, timeout, failed, dependency,
// skipped.
const jobDone = "done"

// runStart asks for the start until it is known to have been heard, and waits for its result.
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
		err = l.call(ctx, func() error {
			_, err := l.StartTransientUnitAux(ctx, s.Name+pair.ServiceSuffix, "fail", service, aux, result)
			return err
		})
		m.reached("unit: start asked")
		switch {
		case err == nil:
			return m.awaitStart(ctx, l, s.Name, result)
		case busErrorName(err) == busUnitExists && asked:
			// An earlier request was heard, only its answer was lost.
			return m.awaitStart(ctx, l, s.Name, nil)
		case busErrorName(err) == busUnitExists:
			return "", fmt.Errorf("%w: %w", ErrExists, err)
		case !isDisconnect(err) || ctx.Err() != nil:
			return "", err
		}
		// The connection broke: the request may have been heard or not. Asking again is safe, since
		// a name starts once: the second request then finds the unit.
		select {
		case <-l.lost:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// awaitStart waits for the job's result from its signal or, when signals are lost, from the unit.
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
		case <-m.life.Done():
			return "", ErrClosed
		case <-lost:
			lost = nil
		case <-tick.C:
		}
		u, err := m.Get(ctx, name)
		switch {
		case errors.Is(err, ErrNotFound):
			return "", fmt.Errorf("unit %s: vanished while it started: %w", name, ErrDisconnected)
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

// failStart finds out why, removes what was begun, and returns both as a StartError.
func (m *Manager) failStart(ctx context.Context, s pair.Spec, result string, cause error) error {
	failure := &StartError{Unit: s.Name, Program: s.Argv[0], JobResult: result, Err: cause}
	if errors.Is(cause, ErrExists) || errors.Is(cause, ErrClosed) {
		return failure // not ours to touch, or nobody left to ask
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

// addressInUse tells a busy address from other reasons for which a socket unit fails: its Result is
// "resources" for all of them. The kernel is asked first, and the journal when the address has
// become free meanwhile.
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

// abandon removes a pair whose start failed. There is nothing in it worth a clean end, since no client
// has been told of it: what still runs is killed, so that a process that hangs does not hang us.
func (m *Manager) abandon(ctx context.Context, name string) error {
	_ = m.retry(ctx, func(l *link) error {
		m.reached("unit: before SIGKILL")
		err := l.call(ctx, func() error {
			return l.KillUnitWithTarget(ctx, name+pair.ServiceSuffix, systemd.All, int32(syscall.SIGKILL))
		})
		m.reached("unit: SIGKILL sent")
		if isDisconnect(err) {
			return err
		}
		return nil // most often there is no process left
	})
	return m.Remove(ctx, name)
}
