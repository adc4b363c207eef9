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
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/verify"
)

// Progress is how far the reading of a restore's images has come, before they are served.
type Progress struct {
	File                  string // path of the image that is read
	BytesDone, BytesTotal int64
}

// Progress tells how far the reading of a restore's images has come; false if nothing is being read.
func (s *Service) Progress(id string) (Progress, bool) {
	x := s.active.Get(id)
	if x == nil {
		return Progress{}, false
	}
	p := x.reading.Load()
	if p == nil {
		return Progress{}, false
	}
	return *p, true
}

// prove looks at all that a restore is to read, and puts on record what is wrong with it. It fails when there is damage and the restore
// was not asked for in spite of it.
func (x *restoration) prove(r record.Restore, repo *repository.Repository) (map[int][]chain.Link, record.Restore, error) {
	links, damage, err := x.service.verifyDisks(x.Ctx, repo, r)
	if err == nil && len(damage) > 0 && !r.DespiteDamage {
		err = refuseDamage(r, damage)
	}
	if err == nil && r.VerifyDigests {
		damage, err = x.readDigests(r, repo, links, damage)
	}
	if err != nil {
		return nil, r, err
	}
	failpoint.Reach("restore: proved")
	r, err = x.service.Records.ChangeRestore(x.ID, func(r *record.Restore) error {
		r.Damage, r.DigestsVerified = damage, r.VerifyDigests && len(damage) == 0
		for _, d := range damage {
			r.Warnings = append(r.Warnings, d.Path+": "+d.Problem+": restored data may be wrong")
		}
		return nil
	})
	return links, r, err
}

// readDigests reads every image that the restore is to read, and compares it with the digest of its manifest. It is not slowed down by
// verify.rate_limit: somebody waits, and the copy that follows reads as much. What is found is added to the damage that is known.
func (x *restoration) readDigests(r record.Restore, repo *repository.Repository, links map[int][]chain.Link, damage []record.RestoreDamage) ([]record.RestoreDamage, error) {
	var p Progress
	for _, d := range r.Disks {
		for _, l := range links[d.DiskID] {
			if l.Disk.Digest == nil {
				e := fault.New(fault.WrongState, "restore of backup %s: image %s has no digest to compare with, because an older agent made it",
					r.BackupID, l.Path())
				e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, new(d.DiskID)
				e.Hint = "restore without --verify-digests (verify_digests)"
				return damage, e
			}
			p.BytesTotal += l.Disk.Digest.Bytes
		}
	}
	defer x.reading.Store(nil)
	for _, d := range r.Disks {
		for _, l := range links[d.DiskID] {
			differs, err := x.readImage(repo, l, &p)
			switch {
			case err != nil && x.Ctx.Err() != nil:
				return damage, context.Cause(x.Ctx)
			case err != nil:
				return damage, restoreDamage(err, r, d.DiskID)
			case differs == nil:
				continue
			}
			found := l.Damaged(differs.Error())
			found.DiskID = new(d.DiskID)
			x.service.Verifications.RecordDamage(l.Point, verify.FileReport{BackupID: l.Point.ID, DiskID: new(l.Disk.DiskID), Path: l.Path(), Status: verify.FileDamaged, Problem: differs.Error()})
			if !r.DespiteDamage {
				return damage, refuseDamage(r, []record.RestoreDamage{found})
			}
			if !slices.ContainsFunc(damage, func(d record.RestoreDamage) bool { return d.Path == found.Path }) { // it may be known
				damage = append(damage, found)
			}
		}
	}
	return damage, nil
}

// readImage reads one image, and says how it differs from what was written; nil if it does not.
func (x *restoration) readImage(repo *repository.Repository, l chain.Link, p *Progress) (differs, err error) {
	tell := func(n int64) {
		p.File = l.Path()
		p.BytesDone += n
		now := *p
		x.reading.Store(&now)
	}
	tell(0)
	done := p.BytesDone
	failpoint.Reach("restore: before a digest")
	now, err := x.service.Repositories.Digest(x.Ctx, repo, l.Point, l.Disk.File, digest.Options{Progress: tell})
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
