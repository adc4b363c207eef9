package chain

import (
	"context"
	"path"
	"path/filepath"
	"sync"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
)

// A Layer is one layer of a disk: an image with its restore point and its entry in the manifest.
type Layer struct {
	Dir, Key string // Dir is the directory of the image; Key is the id of its key, "" if it is not encrypted
	Point    record.Backup
	Disk     manifest.Disk
}

// Path returns the path of the image.
func (l Layer) Path() string { return filepath.Join(l.Dir, l.Disk.File) }

// A Point is a restore point in a chain. Its manifest is read at most once.
type Point struct {
	chains   *Chains
	repo     *storage.Repository
	backup   record.Backup
	once     sync.Once
	manifest manifest.Manifest
	err      error
}

// Point returns a restore point in a chain. It reads nothing yet.
func (c *Chains) Point(repo *storage.Repository, b record.Backup) *Point {
	return &Point{chains: c, repo: repo, backup: b}
}

func (p *Point) read(ctx context.Context) (manifest.Manifest, error) {
	p.once.Do(func() { p.manifest, p.err = p.chains.ReadPoint(ctx, p.repo, p.backup) })
	return p.manifest, p.err
}

// Load returns the layers of a disk, the newest first, from the manifests alone. points are the chain, the newest first. If a manifest
// cannot be read, Load calls suspect with it. On an error, Load returns the layers that it found so far.
func (c *Chains) Load(ctx context.Context, points []*Point, diskID int, suspect func(p record.Backup, file string, err error)) (layers []Layer, err error) {
	is := func(d manifest.Disk) bool { return d.DiskID == diskID }
	for i, p := range points {
		m, err := p.read(ctx)
		if err != nil {
			suspect(p.backup, manifest.FileName, err)
			return layers, err
		}
		d, found := Pick(m.Disks, is)
		if !found {
			return layers, Damagef("backup %s: its manifest lacks the image of disk %d", p.backup.ID, diskID)
		}
		l := Layer{Dir: repositories.DirOf(p.repo, p.backup), Key: d.KeyID(), Point: p.backup, Disk: d}
		layers = append(layers, l)
		if d.Backing == "" {
			return layers, nil
		}
		if i+1 == len(points) || path.Dir(d.Backing) != "../"+points[i+1].backup.ID {
			return layers, Damagef("image %s is based on %s, which does not belong to its parent", l.Path(), d.Backing)
		}
		is = func(below manifest.Disk) bool { return below.File == path.Base(d.Backing) }
	}
	return layers, Damagef("its chain of images does not end")
}

// Damaged returns the damage of a layer as a restore records it.
func (l Layer) Damaged(problem string) record.RestoreDamage {
	return record.RestoreDamage{BackupID: l.Point.ID, Path: l.Path(), Problem: problem}
}

// DamageOf returns the damage on record of a layer and of its manifest. It stays on record until a verification finds the file undamaged.
func DamageOf(l Layer) (list []record.RestoreDamage) {
	for _, d := range l.Point.Damage() {
		if d.File == l.Disk.File || d.File == manifest.FileName {
			found := l.Damaged("was found damaged at " + l.Point.Verified.At.UTC().Format("2006-01-02T15:04:05Z") + ": " + d.Problem)
			found.Path = filepath.Join(l.Dir, d.File)
			list = append(list, found)
		}
	}
	return list
}

// Pick returns the first disk for which is returns true.
func Pick(disks []manifest.Disk, is func(manifest.Disk) bool) (manifest.Disk, bool) {
	for _, d := range disks {
		if is(d) {
			return d, true
		}
	}
	return manifest.Disk{}, false
}
