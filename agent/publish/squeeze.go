package publish

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// A squeezing is an image that may be reduced to the blocks that differ from an image of the parent.
type squeezing struct {
	repo    *storage.Repository
	backup  record.Backup
	disk    record.DiskRun
	backing string // name of the parent's image, relative to the directory of the backup
	written int64  // bytes of disk space that the image takes
}

func (s squeezing) vm() string   { return nbd.DirName(s.backup.VM.Name) }
func (s squeezing) file() string { return filepath.Base(s.disk.Image) }

// squeeze reduces an image to the blocks that differ from its parent, if the client wrote so much that this may be worth the reading. A
// client copies a disk whole after its change tracking was reset, for example. A squeeze that fails makes no backup fail: the image
// stays as the client wrote it. The only errors are that the backup was canceled, the agent stops, or the repository does not answer.
//
// The new image is complete, compared and on the disk before the record says that there is one; only then it takes the name of the old
// one. Both read the same, so a crash in between loses nothing.
func (f *Finisher) squeeze(ctx context.Context, repo *storage.Repository, d record.DiskRun) (record.DiskRun, error) {
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return d, err
	}
	s := squeezing{repo: repo, backup: b, disk: d}
	if d.WrittenBytes == 0 {
		worth, err := f.worthSqueezing(ctx, &s)
		if err != nil || !worth {
			return d, err
		}
		kept, err := f.makeSqueezed(ctx, s)
		if err != nil || kept == 0 {
			return d, err
		}
		if d, err = f.recordSqueezed(s, kept); err != nil {
			return d, err
		}
	}
	failpoint.Reach("before a squeezed image is in place")
	// Not canceled with the backup: the record says that the image is squeezed.
	if err := repo.Images(qemu.Secret{}).KeepSqueezed(f.service.Jobs.Work, s.vm(), b.ID, s.file()); err != nil {
		return d, err
	}
	failpoint.Reach("squeezed image in place")
	return d, nil
}

// makeSqueezed makes the new image. It returns how much space that takes; 0 if it is not smaller by a tenth at least, and then nothing is
// left of it.
func (f *Finisher) makeSqueezed(ctx context.Context, s squeezing) (kept int64, err error) {
	images := s.repo.Images(qemu.Secret{})
	if err := images.DropSqueezed(ctx, s.vm(), s.backup.ID, s.file()); err != nil { // of an earlier agent, which may have been killed
		return 0, f.notSqueezed(ctx, s.disk, err)
	}
	failpoint.Reach("before an image is squeezed")
	size, err := f.squeezed(ctx, s)
	failpoint.Reach("image squeezed, not on record")
	if err == nil && size > s.most() {
		err = qemu.ErrTooLarge
	}
	if err == nil {
		return size, nil
	}
	if err = f.notSqueezed(ctx, s.disk, err); err != nil {
		return 0, err // what is left goes with the directory, or with the next try
	}
	return 0, f.notSqueezed(ctx, s.disk, images.DropSqueezed(ctx, s.vm(), s.backup.ID, s.file()))
}

// most is how much space the new image may take.
func (s squeezing) most() int64 { return s.written / 10 * 9 }

// squeezed makes the new image, and returns how much space it takes.
func (f *Finisher) squeezed(ctx context.Context, s squeezing) (int64, error) {
	based := s.disk
	based.Backing = s.backing
	layers, err := f.service.Chains.Layers(s.backup, s.disk)
	if err != nil {
		return 0, err
	}
	onto, err := f.service.Chains.Layers(s.backup, based)
	if err != nil {
		return 0, err
	}
	images := s.repo.Images(layers[0].Key)
	err = images.Squeeze(ctx, qemu.SqueezeSpec{
		Image: layers[0], Base: layers[1:], Path: s.disk.Image + repository.SqueezedSuffix, Onto: onto[1:], Backing: s.backing,
		SizeBytes: s.disk.CapacityBytes, MaxBytes: s.most(), Cache: iomode.Buffered.Cache,
	}, f.service.Config.Space.Reserve.Bytes())
	if err != nil {
		return 0, err
	}
	info, err := images.Info(ctx, s.disk.Image+repository.SqueezedSuffix)
	return info.ActualBytes, err
}

// notSqueezed logs and counts why an image stays as the client wrote it. It returns the error only if the work on the backup ends with it.
func (f *Finisher) notSqueezed(ctx context.Context, d record.DiskRun, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if storage.IsStuck(err) {
		return repositories.Fault(err)
	}
	level, result := f.service.Log.Warn, metrics.SqueezeFailed
	switch {
	case errors.Is(err, qemu.ErrDiffers):
		level = f.service.Log.Error
	case errors.Is(err, qemu.ErrTooLarge):
		level, result = f.service.Log.Info, metrics.SqueezeNotSmaller
	case errors.Is(err, repository.ErrNoRoom), repositories.IsNoSpace(err):
		result = metrics.SqueezeNoRoom
	}
	f.service.Metrics.Squeezes.WithLabelValues(result).Inc()
	level("an image is not squeezed, and stays as the client wrote it", logkey.BackupID, f.ID, logkey.Disk, d.DiskID, logkey.Error, err)
	return nil
}

// recordSqueezed records that the image holds changes only, how large the client's was, and how large it is now.
func (f *Finisher) recordSqueezed(s squeezing, kept int64) (d record.DiskRun, err error) {
	err = f.UntilRecorded(func() error {
		b, err := f.service.Records.Change(f.ID, func(b *record.Backup) error {
			run := b.Run(s.disk.DiskID)
			run.WrittenBytes, run.KeptBytes, run.Content, run.Backing = s.written, kept, record.Changes, s.backing
			return nil
		})
		if err == nil {
			d = *b.Run(s.disk.DiskID)
		}
		return err
	})
	if err == nil {
		f.service.Metrics.Squeezed(d.ReceivedBytes, s.written, kept)
		failpoint.Reach("squeezed image on record")
	}
	return d, err
}
