package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// removePair removes the units of a disk. A service of that name which is somebody else's by now stays: who has taken our
// exporter away and put something in its place has no less a right to it than if it had another name.
func (a *Agent) removePair(ctx context.Context, name, invocationID, image string) error {
	u, err := a.units.Get(ctx, name)
	if err != nil && !errors.Is(err, units.ErrNotFound) {
		return err
	}
	if why := notOurs(u, a.config.Agent.Slice, invocationID, image); err == nil && why != nil {
		a.log.Warn("a unit that looks like an exporter is left alone", logUnit, name, logReason, why)
		return nil
	}
	return a.units.Remove(ctx, name)
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
