package publish

import (
	"context"
	"fmt"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// worthSqueezing says whether an image may become much smaller, and there is room for a second one. It fills in what the image is compared
// with and how much space it takes.
func (f *Finisher) worthSqueezing(ctx context.Context, s *squeezing) (bool, error) {
	cfg := f.service.Config.Squeeze
	if !cfg.Enabled || s.backup.Parent == "" {
		return false, nil
	}
	points, err := f.service.Chains.Ancestors(s.backup)
	if err != nil {
		return false, f.notSqueezed(ctx, s.disk, err)
	}
	if s.backing = backingFor(&points[0], s.disk); s.backing == "" {
		return false, nil
	}
	info, err := s.repo.Images(qemu.Secret{}).Info(ctx, s.disk.Image)
	if err != nil {
		return false, f.notSqueezed(ctx, s.disk, err)
	}
	s.written = info.ActualBytes
	percent := s.disk.CapacityBytes / 100 * int64(cfg.MinPercent)
	usual := usualChanges(points, s.disk.Key) / 100 * int64(cfg.MinChanges)
	much := s.written >= percent || usual > 0 && s.written >= usual
	if s.written < cfg.MinSize.Bytes() || s.disk.Copied != record.CopiedWhole && !much {
		return false, nil
	}
	space, err := s.repo.Space(ctx)
	if need := s.written + f.service.Config.Space.Reserve.Bytes(); err == nil && int64(min(space.Free, 1<<62)) < need {
		err = fmt.Errorf("%w: %d bytes are free, %d are needed", repository.ErrNoRoom, space.Free, need)
	}
	return err == nil, f.notSqueezed(ctx, s.disk, err)
}

// backingFor names the image of the parent that an image is compared with; "" if the parent has none. A disk that was copied whole may be
// compared with any, whatever disk it is: only equal data is left out.
func backingFor(parent *record.Backup, d record.DiskRun) string {
	if d.Copied != record.CopiedWhole {
		return d.Backing
	}
	if from := chain.Alike(parent, d); from != nil {
		return chain.BackingName(parent, *from)
	}
	return d.Backing
}

// maxHistory is how many earlier incrementals tell how much of a disk usually changes.
const maxHistory = 3

// usualChanges is the mean of what the last incrementals of a chain, the newest first, have kept of a disk, in bytes; 0 if that is not known.
func usualChanges(points []record.Backup, key int) int64 {
	var sum, n int64
	for i := range points {
		from := chain.OfKey(&points[i], key)
		switch {
		case from == nil || points[i].Type == record.Full || n == maxHistory:
		case from.KeptBytes > 0:
			sum, n = sum+from.KeptBytes, n+1
		case from.Copied == record.CopiedChanges:
			sum, n = sum+int64(from.ReceivedBytes), n+1
		}
	}
	return sum / max(n, 1)
}
