package units

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sendense/backup-agent/units/pair"
)

// A CommandError says that a command of RunOnce did not succeed.
type CommandError struct {
	Unit    string
	Journal []string // the last lines of the command, and of systemd about it
}

func (e *CommandError) Error() string {
	text := "unit " + e.Unit + ": the command failed"
	if len(e.Journal) > 0 {
		text += ": " + strings.Join(e.Journal, "; ")
	}
	return text
}

// onceLines is how many lines of the journal a CommandError has.
const onceLines = 5

// RunOnce runs a command in a sandboxed unit of its own, and returns when it has ended with status 0. The error is a *CommandError if it
// ends otherwise or takes longer than its limit. If ctx ends first, the command is stopped. systemd forgets the unit when it has ended.
func (m *Manager) RunOnce(ctx context.Context, c pair.Command) error {
	if err := pair.CheckName(c.Name); err != nil {
		return err
	}
	unit := c.Name + pair.ServiceSuffix
	l, err := m.connected(ctx)
	if err != nil {
		return err
	}
	result := make(chan string, 1) // buffered: go-systemd's dispatcher must never wait for us
	if err := l.job(ctx, func() error {
		_, err := l.StartTransientUnitContext(ctx, unit, "fail", c.Properties(m.options.User), result)
		return err
	}); err != nil {
		return fmt.Errorf("unit %s: %w", unit, err)
	}
	switch end, err := m.awaitEnd(ctx, l, unit, result); {
	case err != nil:
		return m.stopOnce(ctx, unit, err)
	case end != jobDone:
		lines, err := m.Journal(context.WithoutCancel(ctx), c.Name, onceLines)
		if err != nil {
			lines = append(lines, err.Error())
		}
		return &CommandError{unit, lines}
	}
	return nil
}

// awaitEnd waits for the result of the job that started a command, which is the end of the command.
func (m *Manager) awaitEnd(ctx context.Context, l *link, unit string, result <-chan string) (string, error) {
	select {
	case end := <-result:
		return end, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-m.ctx.Done():
		return "", ErrClosed
	case <-l.lost:
		return "", fmt.Errorf("unit %s: %w: whether the command succeeded is not known", unit, ErrDisconnected)
	}
}

// stopOnce stops a command for which nobody waits any more.
func (m *Manager) stopOnce(ctx context.Context, unit string, cause error) error {
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := m.retry(stopping, func(l *link) error {
		return l.job(stopping, func() error {
			_, err := l.StopUnitContext(stopping, unit, "replace", nil)
			return err
		})
	})
	if busErrorName(err) == busNoSuchUnit || errors.Is(err, ErrClosed) {
		err = nil
	}
	return errors.Join(cause, err)
}
