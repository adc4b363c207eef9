package restore

import (
	"context"
	"errors"
	"slices"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/verify"
)

// Progress is how much of a restore's images has been read before they are served.
type Progress struct {
	File                  string // path of the image that is being read
	BytesDone, BytesTotal int64
}

// Progress returns how much of a restore's images has been read; false if none is being read.
func (s *Service) Progress(id string) (Progress, bool) {
	j := s.active.Get(id)
	if j == nil {
		return Progress{}, false
	}
	p := j.reading.Load()
	if p == nil {
		return Progress{}, false
	}
	return *p, true
}

// prove checks everything that a restore is to read, and records the damage. It fails if there is damage and the request does not
// say despite_damage.
func (j *restoreJob) prove(ctx context.Context, r record.Restore, repo *storage.Repository) (map[int][]chain.Layer, record.Restore, error) {
	layers, damage, err := j.service.verifyDisks(ctx, repo, r)
	if err == nil && len(damage) > 0 && !r.DespiteDamage {
		err = refuseDamage(r, damage)
	}
	if err == nil && r.VerifyDigests {
		damage, err = j.readDigests(r, repo, layers, damage)
	}
	if err != nil {
		return nil, r, err
	}
	failpoint.Reach("restore: proved")
	r, err = j.service.Records.ChangeRestore(j.ID, func(r *record.Restore) error {
		r.Damage, r.DigestsVerified = damage, r.VerifyDigests && len(damage) == 0
		for _, d := range damage {
			r.Warnings = append(r.Warnings, d.Path+": "+d.Problem+": restored data may be wrong")
		}
		return nil
	})
	return layers, r, err
}

// readDigests reads every image of the restore and compares it with the digest in its manifest. verify.rate_limit does not apply: a
// caller waits, and the copy that follows reads as much. It adds what it finds to the known damage.
func (j *restoreJob) readDigests(r record.Restore, repo *storage.Repository, layers map[int][]chain.Layer, damage []record.RestoreDamage) ([]record.RestoreDamage, error) {
	var p Progress
	for _, d := range r.Disks {
		for _, l := range layers[d.DiskID] {
			if l.Disk.Digest == nil {
				return damage, fault.New(fault.WrongState, "restore of backup %s: image %s has no digest to compare with, because an older agent made it",
					r.BackupID, l.Path()).OfBackup(r.BackupID).OfRestore(r.ID).OfDisk(d.DiskID).
					WithHint("restore without --verify-digests (verify_digests)")
			}
			p.BytesTotal += l.Disk.Digest.Bytes
		}
	}
	defer j.reading.Store(nil)
	for _, d := range r.Disks {
		for _, l := range layers[d.DiskID] {
			differs, err := j.readImage(repo, l, &p)
			switch {
			case err != nil && j.Ctx.Err() != nil:
				return damage, context.Cause(j.Ctx)
			case err != nil:
				return damage, restoreDamage(err, r, d.DiskID)
			case differs == nil:
				continue
			}
			found := l.Damaged(differs.Error())
			found.DiskID = new(d.DiskID)
			j.service.Verifications.RecordDamage(l.Point, verify.FileReport{BackupID: l.Point.ID, DiskID: new(l.Disk.DiskID), Path: l.Path(), Status: verify.FileDamaged, Problem: differs.Error()})
			if !r.DespiteDamage {
				return damage, refuseDamage(r, []record.RestoreDamage{found})
			}
			if !slices.ContainsFunc(damage, func(d record.RestoreDamage) bool { return d.Path == found.Path }) { // it may be known already
				damage = append(damage, found)
			}
		}
	}
	return damage, nil
}

// readImage reads one image, and returns how it differs from what was written; nil if it does not.
func (j *restoreJob) readImage(repo *storage.Repository, l chain.Layer, p *Progress) (differs, err error) {
	tell := func(n int64) {
		p.File = l.Path()
		p.BytesDone += n
		now := *p
		j.reading.Store(&now)
	}
	tell(0)
	done := p.BytesDone
	failpoint.Reach("restore: before a digest")
	now, err := j.service.Repositories.Digest(j.Ctx, repositories.Restoring, repo, l.Point, l.Disk.File, repositories.ReadOptions{Progress: tell})
	p.BytesDone = done + l.Disk.Digest.Bytes // holes are not read
	if err != nil {
		return nil, chain.Finding(err)
	}
	differs = l.Disk.Digest.Compare(now)
	if differs != nil && !errors.Is(differs, digest.ErrDiffers) {
		return nil, differs
	}
	return differs, nil
}
