package repositories

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
)

// ReadOptions for Digest.
type ReadOptions struct {
	Limit    storage.ReadLimit
	Progress func(bytes int64) // gets the bytes that were read since the last call; may be nil
}

// Digest reads an image of a backup whole. It waits for a slot of the reader first.
func (s *Set) Digest(ctx context.Context, reader Reader, repo *storage.Repository, b record.Backup, file string, o ReadOptions) (digest.Digest, error) {
	release, err := s.reads.acquire(ctx, repo.ID, reader)
	if err != nil {
		return digest.Digest{}, err
	}
	defer release()
	return repo.Digest(ctx, nbd.DirName(b.VM.Name), b.ID, file, o.Limit, func(m storage.Movement) {
		if reader == EndOfBackup {
			s.reads.noted(repo.ID, m.Read, time.Now())
		}
		if o.Progress != nil && m.Bytes > 0 {
			o.Progress(m.Bytes)
		}
	})
}

// DigestMerge reads an image that a merge has made. It waits for a slot of Background first.
func (s *Set) DigestMerge(ctx context.Context, repo *storage.Repository, vm, id, file string) (digest.Digest, error) {
	release, err := s.reads.acquire(ctx, repo.ID, Background)
	if err != nil {
		return digest.Digest{}, err
	}
	defer release()
	return repo.DigestMerge(ctx, vm, id, file)
}
