package publish

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// squeeze reduces an image to the blocks that differ from its parent, if the client wrote so much that this may be worth the reading. A
// client copies a disk whole after its change tracking was reset, for example. A squeeze that fails makes no backup fail: the image
// stays as the client wrote it. The only errors are that the backup was canceled, the agent stops, or the repository does not answer.
//
// The new image is complete, compared and on the disk before the record says that there is one; only then it takes the name of the old
// one. Both read the same, so a crash in between loses nothing.
func (f *Finisher) squeeze(ctx context.Context, repo *storage.Repository, d record.DiskRun) (record.DiskRun, error) {
	if d.Backing == "" {
		return d, nil
	}
	if d.WrittenBytes == 0 {
		written, err := f.worthSqueezing(ctx, repo, d)
		if err != nil || written == 0 {
			return d, err
		}
		kept, err := f.makeSqueezed(ctx, repo, d, written)
		if err != nil || kept == 0 {
			return d, err
		}
		if d, err = f.recordSqueezed(d, written, kept); err != nil {
			return d, err
		}
		f.service.Metrics.SqueezeSaved.Add(float64(written - kept))
	}
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return d, err
	}
	failpoint.Reach("before a squeezed image is in place")
	// Not canceled with the backup: the record says that the image is squeezed.
	if err := repo.Images(qemu.Secret{}).KeepSqueezed(f.service.Jobs.Work, nbd.DirName(b.VM.Name), b.ID, filepath.Base(d.Image)); err != nil {
		return d, err
	}
	failpoint.Reach("squeezed image in place")
	return d, nil
}

// worthSqueezing returns how much space the image takes; 0 if it is not worth a squeeze, or if there is no room for a second image.
func (f *Finisher) worthSqueezing(ctx context.Context, repo *storage.Repository, d record.DiskRun) (int64, error) {
	cfg := f.service.Config.Squeeze
	if !cfg.Enabled {
		return 0, nil
	}
	info, err := repo.Images(qemu.Secret{}).Info(ctx, d.Image)
	if err != nil {
		return 0, f.notSqueezed(ctx, d, err)
	}
	written := info.ActualBytes
	if written < cfg.MinSize.Bytes() || d.Copied != record.CopiedWhole && written < d.CapacityBytes/100*int64(cfg.MinPercent) {
		return 0, nil
	}
	space, err := repo.Space(ctx)
	if err != nil {
		return 0, f.notSqueezed(ctx, d, err)
	}
	if need := written + f.service.Config.Space.Reserve.Bytes(); int64(min(space.Free, 1<<62)) < need {
		f.service.Log.Info("no room to squeeze an image", logkey.BackupID, f.ID, logkey.Disk, d.DiskID, "needed_bytes", need, "free_bytes", space.Free)
		return 0, nil
	}
	return written, nil
}

// makeSqueezed makes the new image. It returns how much space that takes; 0 if it is not smaller by a tenth at least, and then nothing is
// left of it.
func (f *Finisher) makeSqueezed(ctx context.Context, repo *storage.Repository, d record.DiskRun, written int64) (kept int64, err error) {
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return 0, err
	}
	vm, file := nbd.DirName(b.VM.Name), filepath.Base(d.Image)
	if err := repo.Images(qemu.Secret{}).DropSqueezed(ctx, vm, b.ID, file); err != nil { // of an earlier agent, which may have been killed
		return 0, f.notSqueezed(ctx, d, err)
	}
	failpoint.Reach("before an image is squeezed")
	size, err := f.squeezed(ctx, repo, b, d)
	failpoint.Reach("image squeezed, not on record")
	if err == nil && size <= written/10*9 {
		return size, nil
	}
	if err != nil {
		if err = f.notSqueezed(ctx, d, err); err != nil {
			return 0, err // what is left goes with the directory, or with the next try
		}
	}
	return 0, f.notSqueezed(ctx, d, repo.Images(qemu.Secret{}).DropSqueezed(ctx, vm, b.ID, file))
}

// squeezed makes the new image, and returns how much space it takes.
func (f *Finisher) squeezed(ctx context.Context, repo *storage.Repository, b record.Backup, d record.DiskRun) (int64, error) {
	layers, err := f.service.Chains.Layers(b, d)
	if err != nil {
		return 0, err
	}
	images := repo.Images(layers[0].Key)
	err = images.Squeeze(ctx, qemu.SqueezeSpec{
		Image: layers[0], Path: d.Image + repository.SqueezedSuffix, Backing: d.Backing, Base: layers[1:],
		SizeBytes: d.CapacityBytes, Cache: qemu.BufferedIO.Cache,
	})
	if err != nil {
		return 0, err
	}
	info, err := images.Info(ctx, d.Image+repository.SqueezedSuffix)
	return info.ActualBytes, err
}

// notSqueezed logs why an image stays as the client wrote it. It returns the error only if the work on the backup ends with it.
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
	level := f.service.Log.Warn
	if errors.Is(err, qemu.ErrDiffers) {
		level = f.service.Log.Error
	}
	level("an image is not squeezed, and stays as the client wrote it", logkey.BackupID, f.ID, logkey.Disk, d.DiskID, logkey.Error, err)
	return nil
}

// recordSqueezed records that the image holds changes only, how large the client's was, and how large it is now.
func (f *Finisher) recordSqueezed(d record.DiskRun, written, kept int64) (record.DiskRun, error) {
	err := f.UntilRecorded(func() error {
		b, err := f.service.Records.Change(f.ID, func(b *record.Backup) error {
			run := b.Run(d.DiskID)
			run.WrittenBytes, run.KeptBytes, run.Content = written, kept, record.Changes
			return nil
		})
		if err == nil {
			d = *b.Run(d.DiskID)
		}
		return err
	})
	if err == nil {
		failpoint.Reach("squeezed image on record")
	}
	return d, err
}
