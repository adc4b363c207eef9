package units

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/units/pair"
)

// StopCommands stops the commands of RunOnce whose names begin with a prefix: those of a process that was killed.
func (m *Manager) StopCommands(ctx context.Context, prefix string) error {
	if err := pair.CheckName(prefix); err != nil {
		return err
	}
	l, err := m.connected(ctx)
	if err != nil {
		return err
	}
	list, err := l.match(ctx, prefix+"*"+pair.ServiceSuffix)
	if err != nil {
		return fmt.Errorf("units %s*: %w", prefix, err)
	}
	var all []error
	for _, unit := range list {
		all = append(all, m.stopOnce(ctx, unit.Name, nil))
	}
	return errors.Join(all...)
}
