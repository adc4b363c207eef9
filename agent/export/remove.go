package export

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// RemovePairs removes the units of disks. If a service of that name is not the agent's, it logs a warning and leaves the service alone:
// someone replaced the exporter, and the agent must not remove what is not its own.
func (m *Manager) RemovePairs(ctx context.Context, disks []record.Served) error {
	return Each(ctx, len(disks), func(ctx context.Context, i int) error { return m.remove(ctx, disks[i]) })
}

// killTimeout limits the calls that kill the exporters of a repository that is stuck.
const killTimeout = 5 * time.Second

// Discard is RemovePairs for exporters whose data is not needed. While their repository is stuck, their processes cannot end, so Discard
// kills them and returns: the reconciler removes their units when the repository answers again. Their ports are not used again as long as a process listens on them.
func (m *Manager) Discard(ctx context.Context, repo *storage.Repository, disks []record.Served) error {
	answering, stop := repo.WhileAnswering(ctx)
	defer stop()
	err := m.RemovePairs(answering, disks)
	if err == nil || !storage.IsStuck(context.Cause(answering)) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	err = Each(ctx, len(disks), func(ctx context.Context, i int) error { return m.Units.Kill(ctx, disks[i].Unit) })
	if err != nil {
		return err
	}
	for _, d := range disks {
		m.Ports.Foreign.Note(d.Port)
		m.Log.Warn("an exporter is killed, and its unit is left until the repository answers again", logkey.Unit, d.Unit, logkey.Repository, repo.ID)
	}
	return nil
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
