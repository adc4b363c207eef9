package export

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// RemovePairs removes the units of disks. If a service of that name is not the agent's, it logs a warning and leaves the service alone:
// someone replaced the exporter, and the agent must not remove what is not its own.
func (m *Manager) RemovePairs(ctx context.Context, disks []record.Served) error {
	return Each(ctx, len(disks), func(ctx context.Context, i int) error { return m.remove(ctx, disks[i]) })
}

func (m *Manager) remove(ctx context.Context, d record.Served) error {
	u, err := m.Units.Get(ctx, d.Unit)
	if err != nil && !errors.Is(err, units.ErrNotFound) {
		return err
	}
	if why := notOurs(u, m.Config.Agent.Slice, d.InvocationID, d.Image); err == nil && why != nil {
		m.Log.Warn("a unit with the name of an exporter is not ours; it is left alone", logkey.Unit, d.Unit, logkey.Reason, why)
		return nil
	}
	return m.Units.Remove(ctx, d.Unit)
}

// notOurs returns why a unit with the name of an exporter is not the agent's; nil if it is. A unit that holds the agent's socket or
// serves the agent's image is the agent's, no matter who restarted it.
func notOurs(u units.Unit, slice, invocationID, image string) error {
	served, _, _ := qemu.Served(u.Argv)
	switch {
	case u.ActiveState == "" || u.InvocationID == "" || u.SocketState != "" || served == image:
		return nil
	case u.Slice != slice:
		return fmt.Errorf("it is in slice %s, not %s", u.Slice, slice)
	case invocationID != "" && u.InvocationID != invocationID:
		return errors.New("its service was not started by the agent")
	}
	return nil
}
