package export

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// Remove removes the units of a disk. If a service of that name is not the agent's, it logs a warning and leaves the service alone:
// someone replaced the exporter, and the agent must not remove what is not its own.
func (m *Manager) Remove(ctx context.Context, name, invocationID, image string) error {
	u, err := m.Units.Get(ctx, name)
	if err != nil && !errors.Is(err, units.ErrNotFound) {
		return err
	}
	if why := notOurs(u, m.Config.Agent.Slice, invocationID, image); err == nil && why != nil {
		m.Log.Warn("a unit with the name of an exporter is not ours; it is left alone", logkey.Unit, name, logkey.Reason, why)
		return nil
	}
	return m.Units.Remove(ctx, name)
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

// RemovePairs removes the units of all disks of a backup, MaxParallelDisks at once.
func (m *Manager) RemovePairs(ctx context.Context, runs []record.DiskRun) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(MaxParallelDisks)
	for _, d := range runs {
		group.Go(func() error { return m.Remove(ctx, d.Unit, d.InvocationID, d.Image) })
	}
	return group.Wait()
}
