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

// Remove removes the units of a disk. A service of that name which is somebody else's by now stays: who has taken our
// exporter away and put something in its place has no less a right to it than if it had another name.
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

// notOurs says why a unit that bears the name of an exporter is somebody else's. One that holds our socket, or serves our image,
// is ours, whoever started it again.
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

// RemovePairs removes the units of all disks of a backup.
func (m *Manager) RemovePairs(ctx context.Context, runs []record.DiskRun) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(MaxParallelDisks)
	for _, d := range runs {
		group.Go(func() error { return m.Remove(ctx, d.Unit, d.InvocationID, d.Image) })
	}
	return group.Wait()
}
