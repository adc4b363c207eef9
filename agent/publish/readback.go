package publish

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// checkAndRead checks the metadata of a finished image and reads it back at the same time. Clusters that are allocated but not used are
// waste, not damage: they are freed, the manifest says so, and the image is read again.
func (f *Finisher) checkAndRead(ctx context.Context, repo *storage.Repository, d record.DiskRun) (check manifest.Check, sum digest.Digest, err error) {
	var found qemu.CheckResult
	group, work := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		found, err = f.checkImage(work, repo, d)
		return err
	})
	group.Go(func() (err error) {
		sum, err = f.readBack(work, d)
		return err
	})
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return check, sum, err
	}
	if found.Leaks == 0 {
		return manifest.Check{Result: manifest.CheckClean}, sum, nil
	}
	fixed, err := f.repairLeaks(ctx, repo, d)
	if err == nil {
		sum, err = f.readBack(ctx, d)
	}
	return manifest.Check{Result: manifest.CheckRepaired, LeaksRepaired: fixed.LeaksFixed}, sum, err
}

// checkImage checks the metadata of an image.
func (f *Finisher) checkImage(ctx context.Context, repo *storage.Repository, d record.DiskRun) (qemu.CheckResult, error) {
	tools, err := f.service.Repositories.ImagesFor(repo, d.KeyID)
	if err != nil {
		return qemu.CheckResult{}, err
	}
	found, err := tools.Check(ctx, d.Image)
	if errors.Is(err, qemu.ErrWrongKey) {
		err = repositories.WrongKey(repo, d.KeyID, d.Image)
	}
	failpoint.Reach("image checked")
	return found, err
}

func (f *Finisher) repairLeaks(ctx context.Context, repo *storage.Repository, d record.DiskRun) (qemu.CheckResult, error) {
	tools, err := f.service.Repositories.ImagesFor(repo, d.KeyID)
	if err != nil {
		return qemu.CheckResult{}, err
	}
	failpoint.Reach("before leaks are repaired")
	fixed, err := tools.RepairLeaks(ctx, d.Image)
	failpoint.Reach("leaks repaired")
	return fixed, err
}

// readBack reads a finished image from the disk and returns its digest for the manifest, so that a later bit flip is found. It
// stops with the job, for example when the backup is canceled.
func (f *Finisher) readBack(ctx context.Context, d record.DiskRun) (digest.Digest, error) {
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return digest.Digest{}, err
	}
	repo, err := f.service.Repositories.Find(b.Repository)
	if err != nil {
		return digest.Digest{}, err
	}
	sum, err := f.service.Repositories.Digest(ctx, repositories.EndOfBackup, repo, b, filepath.Base(d.Image), repositories.ReadOptions{})
	failpoint.Reach("image read back")
	return sum, err
}
