package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/verify"
)

// verifyDisks checks each disk of a restore, with all images that it is based on, before QEMU follows a backing file: an image can
// name any file as its backing file. It checks only what is to be read, so that a disk can be restored although another is damaged.
// It returns the images of each disk, the newest first, and their damage. It returns an error if a disk cannot be served: it is
// damaged and the request does not say despite_damage, or its content would not be what was backed up.
func (s *Service) verifyDisks(ctx context.Context, repo *repository.Repository, r record.Restore) (map[int][]chain.Layer, []record.RestoreDamage, error) {
	if err := repositories.RequireMounted(repo); err != nil {
		return nil, nil, repositories.Fault(err)
	}
	points := make([]*chain.Point, len(r.Points))
	for i, id := range r.Points {
		b, err := s.Store.Backup(id)
		if err != nil {
			return nil, nil, fault.New(fault.Internal, "restore %s: %w", r.ID, err)
		}
		points[i] = s.Chains.Point(repo, b)
	}
	layers := make([][]chain.Layer, len(r.Disks))
	damage := make([][]record.RestoreDamage, len(r.Disks))
	err := export.Each(ctx, len(r.Disks), func(ctx context.Context, i int) (err error) {
		disk := r.Disks[i].DiskID
		if layers[i], err = s.Chains.Load(points, disk, func(p record.Backup, file string, err error) { s.suspect(ctx, p, file, err) }); err == nil {
			damage[i], err = s.checkLayers(ctx, repo, layers[i], disk)
		}
		return restoreDamage(err, r, disk)
	})
	if err != nil {
		return nil, nil, err
	}
	byDisk, all := map[int][]chain.Layer{}, []record.RestoreDamage(nil)
	for i, d := range r.Disks {
		byDisk[d.DiskID] = layers[i]
		for _, found := range damage[i] {
			if found.DiskID != nil || !slices.ContainsFunc(all, func(x record.RestoreDamage) bool { return x.Path == found.Path }) { // the disks share one manifest
				all = append(all, found)
			}
		}
	}
	return byDisk, all, nil
}

// restoreDamage is the error for a disk that cannot be restored, whatever the request; nil for nil.
func restoreDamage(err error, r record.Restore, diskID int) error {
	if err == nil {
		return nil
	}
	if repositories.IsKeyError(err) {
		e := *fault.From(err)
		e.Message = fmt.Sprintf("restore of backup %s: disk %d: %s", r.BackupID, diskID, e.Message)
		e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, new(diskID)
		return &e
	}
	var damage *chain.Damage
	if !errors.As(err, &damage) {
		return repositories.Fault(fmt.Errorf("restore of backup %s: disk %d cannot be checked: %w", r.BackupID, diskID, err))
	}
	e := fault.New(fault.Damaged, "restore of backup %s: disk %d is damaged: %w", r.BackupID, diskID, err)
	e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, new(diskID)
	e.Hint = "this disk is not served. Other disks and older restore points may be intact"
	if r.DespiteDamage {
		e.Hint = "this disk cannot be served despite the damage, because its content would be arbitrary. Other disks and older restore points may be intact"
	}
	return e
}

// refuseDamage is the error for a restore with damage whose request does not say despite_damage.
func refuseDamage(r record.Restore, damage []record.RestoreDamage) error {
	first := damage[0]
	disk := ""
	if first.DiskID != nil {
		disk = fmt.Sprintf("disk %d is damaged: ", *first.DiskID)
	}
	more := ""
	if n := len(damage) - 1; n > 0 {
		more = fmt.Sprintf(", and %d more", n)
	}
	e := fault.New(fault.Damaged, "restore of backup %s: %s%s: %s%s", r.BackupID, disk, first.Path, first.Problem, more)
	e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, first.DiskID
	e.Hint = "restore the file from a copy and verify the backup again with --deep (deep), or use an older restore point. With --despite-damage " +
		"(despite_damage) the remaining data is served"
	return e
}

// checkLayers checks every image of a disk, and returns the damage of those that can still be read.
func (s *Service) checkLayers(ctx context.Context, repo *repository.Repository, layers []chain.Layer, diskID int) (list []record.RestoreDamage, err error) {
	for _, l := range layers {
		found := chain.DamageOf(l)
		err := s.Chains.CheckImage(repo, l.Point, l.Disk)
		if err == nil {
			err = s.Chains.CheckKey(ctx, repo, l.Point, l.Disk)
		}
		s.suspect(ctx, l.Point, l.Disk.File, err)
		var damage *chain.Damage
		switch {
		case err == nil:
		case errors.As(err, &damage) && damage.Readable:
			if len(found) == 0 {
				f := verify.FileReport{Path: l.Path()}
				f.Found(err)
				found = []record.RestoreDamage{l.Damaged(f.Problem)}
			}
		default:
			return nil, err
		}
		for i := range found {
			if found[i].Path == l.Path() {
				found[i].DiskID = new(diskID)
			}
		}
		list = append(list, found...)
	}
	return list, nil
}

// suspect has a restore point verified if new damage of one of its files was found, so that the damage is on record before the
// caller gets an answer. The restore keeps the restore point from being deleted.
func (s *Service) suspect(ctx context.Context, p record.Backup, file string, found error) {
	var damage *chain.Damage
	if !errors.As(found, &damage) || chain.KnownDamage(p.Damage(), file) {
		return
	}
	s.Verifications.VerifyMetadata(ctx, p)
}
