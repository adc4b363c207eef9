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
	"github.com/sendense/backup-agent/nbd/qemu"
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

// Manifest returns the manifest of the restore point. See ReadPoint.
func (p *Point) Manifest(ctx context.Context) (manifest.Manifest, error) {
	p.once.Do(func() { p.manifest, p.err = p.chains.ReadPoint(ctx, p.repo, p.backup) })
	return p.manifest, p.err
}

// Load returns the layers of a disk, the newest first, from the manifests alone. points are the chain, the newest first. If a manifest
// cannot be read, Load calls suspect with it. On an error, Load returns the layers that it found so far.
func (c *Chains) Load(ctx context.Context, points []*Point, diskID int, suspect func(p record.Backup, file string, err error)) ([]Layer, error) {
	return follow(points, func(p *Point) string { return p.backup.ID }, func(p *Point, file string) (Layer, error) {
		m, err := p.Manifest(ctx)
		if err != nil {
			suspect(p.backup, manifest.FileName, err)
			return Layer{}, err
		}
		d, found := Pick(m.Disks, func(d manifest.Disk) bool { return d.File == file || file == "" && d.DiskID == diskID })
		if !found {
			return Layer{}, Damagef("backup %s: its manifest lacks the image of disk %d", p.backup.ID, diskID)
		}
		return Layer{Dir: repositories.DirOf(p.repo, p.backup), Key: d.KeyID(), Point: p.backup, Disk: d}, nil
	})
}

// Recorded returns the layers of a disk of a backup, the newest first, from the records alone. ancestors are what the backup is based on,
// the newest first. The records were proved when the parent was chosen.
func Recorded(repo *storage.Repository, b record.Backup, d record.DiskRun, ancestors []record.Backup) ([]Layer, error) {
	points := append([]record.Backup{b}, ancestors...)
	return follow(points, func(p record.Backup) string { return p.ID }, func(p record.Backup, file string) (Layer, error) {
		if file == "" {
			return layerOf(filepath.Dir(d.Image), b, d), nil
		}
		for _, below := range p.Runs {
			if filepath.Base(below.Image) == file {
				return layerOf(repositories.DirOf(repo, p), p, below), nil
			}
		}
		return Layer{}, Damagef("backup %s: its record lacks the image %s", p.ID, file)
	})
}

func layerOf(dir string, p record.Backup, d record.DiskRun) Layer {
	return Layer{Dir: dir, Key: d.KeyID, Point: p, Disk: manifest.Disk{DiskID: d.DiskID, File: filepath.Base(d.Image), Backing: d.Backing}}
}

// follow is the one walk along the images of a disk, from the newest to the one that is based on none. points are the chain, the newest
// first. find returns the layer of a point by the name of its file; "" is the disk itself. An image that is not based on one of the next
// point is a *Damage. On an error, follow returns the layers that it found so far.
func follow[P any](points []P, id func(P) string, find func(p P, file string) (Layer, error)) (layers []Layer, err error) {
	file := ""
	for i, p := range points {
		l, err := find(p, file)
		if err != nil {
			return layers, err
		}
		layers = append(layers, l)
		if l.Disk.Backing == "" {
			return layers, nil
		}
		if i+1 == len(points) || path.Dir(l.Disk.Backing) != "../"+id(points[i+1]) {
			return layers, Damagef("image %s is based on %s, which does not belong to its parent", l.Path(), l.Disk.Backing)
		}
		file = path.Base(l.Disk.Backing)
	}
	return layers, Damagef("its chain of images does not end")
}

// WithKeys returns layers with their keys, for a program that reads them.
func (c *Chains) WithKeys(repo *storage.Repository, layers []Layer) ([]qemu.Layer, error) {
	list := make([]qemu.Layer, len(layers))
	for i, l := range layers {
		images, err := c.Repositories.ImagesFor(repo, l.Key)
		if err != nil {
			return nil, err
		}
		list[i] = qemu.Layer{Path: l.Path(), Key: images.Key}
	}
	return list, nil
}

// KeysOf returns the ids of the keys of layers; "" for a layer that is not encrypted.
func KeysOf(layers []Layer) []string {
	ids := make([]string, len(layers))
	for i, l := range layers {
		ids[i] = l.Key
	}
	return ids
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
