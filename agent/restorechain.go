package agent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
)

// verifyDisks proves that each disk of a restore, with all the images it stands on, is what the manifests say, before QEMU
// follows a backing file: an image can name any file as its backing. Only what is to be read is looked at, so that a disk
// can be had although another is damaged. It returns the images that each disk consists of, the newest first.
func (a *Agent) verifyDisks(ctx context.Context, repo *repository.Repository, r backup.Restore) (map[int][]chainLink, error) {
	if err := present(repo); err != nil {
		return nil, repositoryError(err)
	}
	points := make([]*chainPoint, len(r.Points))
	for i, id := range r.Points {
		b, err := a.store.Backup(id)
		if err != nil {
			return nil, errorf(Internal, "restore %s: %w", r.ID, err)
		}
		points[i] = &chainPoint{repo: repo, backup: b}
	}
	links := map[int][]chainLink{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelDisks)
	for _, d := range r.Disks {
		group.Go(func() error {
			list, err := a.verifyDisk(ctx, points, d.DiskID)
			mu.Lock()
			defer mu.Unlock()
			links[d.DiskID] = list
			return restoreDamage(err, r, d.DiskID)
		})
	}
	return links, group.Wait()
}

// restoreDamage is what the caller is told of a disk that cannot be restored; nil for nil.
func restoreDamage(err error, r backup.Restore, diskID int) error {
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
	e := errorf(ImageFailed, "restore of backup %s: disk %d is damaged: %w", r.BackupID, diskID, err)
	e.BackupID, e.RestoreID, e.DiskID = r.BackupID, r.ID, new(diskID)
	e.Hint = "nothing of it is served; its other disks may be whole, and so may older restore points"
	return e
}

// A chainLink is one of the images that a disk consists of.
type chainLink struct{ dir, key string } // key is the id of its key; "" if it is plain

// A chainPoint is a restore point in a chain; its manifest is read once, if it is needed.
type chainPoint struct {
	repo     *repository.Repository
	backup   backup.Backup
	once     sync.Once
	manifest repository.Manifest
	err      error
}

func (p *chainPoint) read() (repository.Manifest, error) {
	p.once.Do(func() { p.manifest, p.err = p.repo.Manifest(nbd.DirName(p.backup.VM.Name), p.backup.ID) })
	return p.manifest, p.err
}

// verifyDisk walks from the image of a disk down to the one that stands on nothing.
func (a *Agent) verifyDisk(ctx context.Context, points []*chainPoint, diskID int) (links []chainLink, err error) {
	is := func(d repository.ManifestDisk) bool { return d.DiskID == diskID }
	for i, p := range points {
		m, err := p.read()
		if err != nil {
			return links, finding(err)
		}
		d, found := pick(m.Disks, is)
		if !found {
			return links, damagef("backup %s: its manifest lacks the image that disk %d is to be read from", p.backup.ID, diskID)
		}
		image := filepath.Join(dirOf(p.repo, p.backup), d.File)
		links = append(links, chainLink{dir: filepath.Dir(image), key: d.KeyID()})
		if err := a.verifyImage(ctx, p.repo, image, d, false); err != nil {
			return links, err
		}
		if d.Backing == "" {
			return links, nil
		}
		if i+1 == len(points) || path.Dir(d.Backing) != "../"+points[i+1].backup.ID {
			return links, damagef("image %s stands on %s, which is not of its parent", image, d.Backing)
		}
		is = func(below repository.ManifestDisk) bool { return below.File == path.Base(d.Backing) }
	}
	return links, damagef("its chain of images does not end")
}

func pick(disks []repository.ManifestDisk, is func(repository.ManifestDisk) bool) (repository.ManifestDisk, bool) {
	for _, d := range disks {
		if is(d) {
			return d, true
		}
	}
	return repository.ManifestDisk{}, false
}
