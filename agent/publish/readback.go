package publish

import (
	"context"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
)

// readBack reads a finished image from the disk, and returns the digest that goes into the manifest: from then on a bit that
// flips is found. It ends with the run, as when the backup is cancelled.
func (f *Finisher) readBack(ctx context.Context, d record.DiskRun) (*digest.Digest, error) {
	b, err := f.service.Store.Backup(f.ID)
	if err != nil {
		return nil, err
	}
	repo, err := f.service.Repositories.Find(b.Repository)
	if err != nil {
		return nil, err
	}
	sum, err := f.service.Repositories.Digest(ctx, repo, b, filepath.Base(d.Image), digest.Options{})
	failpoint.Reach("image read back")
	return &sum, err
}
