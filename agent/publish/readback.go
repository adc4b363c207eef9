package publish

import (
	"context"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
)

// readBack reads a finished image from the disk and returns its digest for the manifest, so that a later bit flip is found. It
// stops with the job, for example when the backup is canceled.
func (f *Finisher) readBack(ctx context.Context, d record.DiskRun) (*digest.Digest, error) {
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return nil, err
	}
	repo, err := f.service.Repositories.Find(b.Repository)
	if err != nil {
		return nil, err
	}
	sum, err := f.service.Repositories.Digest(ctx, repositories.EndOfBackup, repo, b, filepath.Base(d.Image), repositories.ReadOptions{})
	failpoint.Reach("image read back")
	return &sum, err
}
