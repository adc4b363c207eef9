package agent

import (
	"context"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
)

// maxReads bounds how many images are read whole at once, whatever backups they are of: each read has 8 MiB in memory, and
// more of them make no disk faster.
const maxReads = 4

// readBack reads a finished image from the disk, and returns the digest that goes into the manifest: from then on a bit that
// flips is found. It ends with the run, as when the backup is cancelled.
func (f *finisher) readBack(ctx context.Context, d record.DiskRun) (*digest.Digest, error) {
	b, err := f.agent.store.Backup(f.id)
	if err != nil {
		return nil, err
	}
	repo, err := f.agent.findRepository(b.Repository)
	if err != nil {
		return nil, err
	}
	sum, err := f.agent.digest(ctx, repo, b, filepath.Base(d.Image), digest.Options{})
	failpoint.Reach("image read back")
	return &sum, err
}

// digest reads an image of a backup when it is its turn.
func (a *Agent) digest(ctx context.Context, repo *repository.Repository, b record.Backup, file string, o digest.Options) (digest.Digest, error) {
	if err := a.reads.Acquire(ctx, 1); err != nil {
		return digest.Digest{}, context.Cause(ctx)
	}
	defer a.reads.Release(1)
	return repo.Digest(ctx, nbd.DirName(b.VM.Name), b.ID, file, o)
}

// digestMerge reads an image that a merge has made.
func (a *Agent) digestMerge(ctx context.Context, repo *repository.Repository, vm, id, file string) (digest.Digest, error) {
	if err := a.reads.Acquire(ctx, 1); err != nil {
		return digest.Digest{}, err
	}
	defer a.reads.Release(1)
	return repo.DigestMerge(ctx, vm, id, file, digest.Options{})
}
