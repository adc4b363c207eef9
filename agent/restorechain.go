package agent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// A chainLink is one of the images that a disk consists of.
type chainLink struct {
	dir, key string // key is the id of its key; "" if it is plain
	point    record.Backup
	disk     manifest.Disk
}

func (l chainLink) path() string { return filepath.Join(l.dir, l.disk.File) }

// verifyDisks looks at each disk of a restore, with all the images it stands on, before QEMU follows a backing file: an image can name
// any file as its backing. Only what is to be read is looked at, so that a disk can be had although another is damaged. It returns the
// images that each disk consists of, the newest first, and what is wrong with them. The error is for what cannot be served: because it
// is damaged, unless the restore is to be in spite of that, or because what would be read is not what was made.
func (a *Agent) verifyDisks(ctx context.Context, repo *repository.Repository, r record.Restore) (map[int][]chainLink, []record.RestoreDamage, error) {
	if err := present(repo); err != nil {
		return nil, nil, repositoryError(err)
	}
	points := make([]*chainPoint, len(r.Points))
	for i, id := range r.Points {
		b, err := a.store.Backup(id)
		if err != nil {
			return nil, nil, errorf(Internal, "restore %s: %w", r.ID, err)
		}
		points[i] = &chainPoint{agent: a, repo: repo, backup: b}
	}
	links := make([][]chainLink, len(r.Disks))
	damage := make([][]record.RestoreDamage, len(r.Disks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelDisks)
	for i, d := range r.Disks {
		group.Go(func() (err error) {
			if links[i], err = a.chainOf(points, d.DiskID, func(p record.Backup, file string, err error) { a.suspect(ctx, p, file, err) }); err == nil {
				damage[i], err = a.checkLinks(ctx, repo, links[i], d.DiskID)
			}
			return restoreDamage(err, r, d.DiskID)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	byDisk, all := map[int][]chainLink{}, []record.RestoreDamage(nil)
	for i, d := range r.Disks {
		byDisk[d.DiskID] = links[i]
		for _, found := range damage[i] {
			if found.DiskID != nil || !slices.ContainsFunc(all, func(x record.RestoreDamage) bool { return x.Path == found.Path }) { // one manifest is of all disks
				all = append(all, found)
			}
		}
	}
	return byDisk, all, nil
}

// restoreDamage is what the caller is told of a disk that cannot be restored, whatever is asked for; nil for nil.
func restoreDamage(err error, r record.Restore, diskID int) error {
	if err == nil {
		return nil
	}
	if isKeyError(err) {
		e := *AsError(err)
		e.Message = fmt.Sprintf("restore of backup %s: disk %d: %s", r.BackupID, diskID, e.Message)
		e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, new(diskID)
		return &e
	}
	var damage *damageError
	if !errors.As(err, &damage) {
		return repositoryError(fmt.Errorf("restore of backup %s: disk %d cannot be looked at: %w", r.BackupID, diskID, err))
	}
	e := errorf(Damaged, "restore of backup %s: disk %d is damaged: %w", r.BackupID, diskID, err)
	e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, new(diskID)
	e.Hint = "nothing of it is served; its other disks may be whole, and so may older restore points"
	if r.DespiteDamage {
		e.Hint = "this cannot be served in spite of the damage, because nobody knows what would be read; its other disks may be whole, and so may older restore points"
	}
	return e
}

// refuseDamage is what the caller is told when there is damage and the restore was not asked for in spite of it.
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
	e := errorf(Damaged, "restore of backup %s: %s%s: %s%s", r.BackupID, disk, first.Path, first.Problem, more)
	e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, first.DiskID
	e.Hint = "put the file back from a copy and verify the backup again, with --deep (deep), or take an older restore point; with --despite-damage " +
		"(despite_damage) what is left is served all the same"
	return e
}

// A chainPoint is a restore point in a chain; its manifest is read once, if it is needed.
type chainPoint struct {
	agent    *Agent
	repo     *repository.Repository
	backup   record.Backup
	once     sync.Once
	manifest manifest.Manifest
	err      error
}

func (p *chainPoint) read() (manifest.Manifest, error) {
	p.once.Do(func() { p.manifest, p.err = p.agent.readPoint(p.repo, p.backup) })
	return p.manifest, p.err
}

// chainOf walks from the image of a disk down to the one that stands on nothing, by the manifests alone. suspect is told of a manifest
// that cannot be read.
func (a *Agent) chainOf(points []*chainPoint, diskID int, suspect func(p record.Backup, file string, err error)) (links []chainLink, err error) {
	is := func(d manifest.Disk) bool { return d.DiskID == diskID }
	for i, p := range points {
		m, err := p.read()
		if err != nil {
			suspect(p.backup, manifest.FileName, err)
			return links, err
		}
		d, found := pick(m.Disks, is)
		if !found {
			return links, damagef("backup %s: its manifest lacks the image that disk %d is to be read from", p.backup.ID, diskID)
		}
		l := chainLink{dir: dirOf(p.repo, p.backup), key: d.KeyID(), point: p.backup, disk: d}
		links = append(links, l)
		if d.Backing == "" {
			return links, nil
		}
		if i+1 == len(points) || path.Dir(d.Backing) != "../"+points[i+1].backup.ID {
			return links, damagef("image %s stands on %s, which is not of its parent", l.path(), d.Backing)
		}
		is = func(below manifest.Disk) bool { return below.File == path.Base(d.Backing) }
	}
	return links, damagef("its chain of images does not end")
}

// checkLinks looks at every image of a disk, and returns what is wrong with those that can be read all the same.
func (a *Agent) checkLinks(ctx context.Context, repo *repository.Repository, links []chainLink, diskID int) (list []record.RestoreDamage, err error) {
	for _, l := range links {
		found := damageOf(l)
		err := a.checkImage(repo, l.point, l.disk)
		if err == nil {
			err = a.checkKey(ctx, repo, l.point, l.disk)
		}
		a.suspect(ctx, l.point, l.disk.File, err)
		var damage *damageError
		switch {
		case err == nil:
		case errors.As(err, &damage) && damage.readable:
			if len(found) == 0 {
				f := FileReport{Path: l.path()}
				f.found(err)
				found = []record.RestoreDamage{l.damaged(f.Problem)}
			}
		default:
			return nil, err
		}
		for i := range found {
			if found[i].Path == l.path() {
				found[i].DiskID = new(diskID)
			}
		}
		list = append(list, found...)
	}
	return list, nil
}

// suspect has a restore point verified when damage was found of one of its files that is not on record yet, so that it is before anybody
// is told. The restore that has found it keeps the point from being deleted.
func (a *Agent) suspect(ctx context.Context, p record.Backup, file string, found error) {
	var damage *damageError
	if !errors.As(found, &damage) || knownDamage(p.Damage(), file) {
		return
	}
	a.verifyPoint(ctx, p)
}

func (l chainLink) damaged(problem string) record.RestoreDamage {
	return record.RestoreDamage{BackupID: l.point.ID, Path: l.path(), Problem: problem}
}

// damageOf is what is on record of an image, and of the manifest that it is read by. It stays until a verification finds the file
// whole.
func damageOf(l chainLink) (list []record.RestoreDamage) {
	for _, d := range l.point.Damage() {
		if d.File == l.disk.File || d.File == manifest.FileName {
			found := l.damaged("was found damaged at " + l.point.Verified.At.UTC().Format("2006-01-02T15:04:05Z") + ": " + d.Problem)
			found.Path = filepath.Join(l.dir, d.File)
			list = append(list, found)
		}
	}
	return list
}

func pick(disks []manifest.Disk, is func(manifest.Disk) bool) (manifest.Disk, bool) {
	for _, d := range disks {
		if is(d) {
			return d, true
		}
	}
	return manifest.Disk{}, false
}
