package chain

import (
	"path"
	"path/filepath"
	"sync"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// A Link is one of the images that a disk consists of.
type Link struct {
	Dir, Key string // key is the id of its key; "" if it is plain
	Point    record.Backup
	Disk     manifest.Disk
}

func (l Link) Path() string { return filepath.Join(l.Dir, l.Disk.File) }

// A Point is a restore point in a chain; its manifest is read once, if it is needed.
type Point struct {
	chains   *Chains
	repo     *repository.Repository
	backup   record.Backup
	once     sync.Once
	manifest manifest.Manifest
	err      error
}

// Point returns a restore point in a chain.
func (c *Chains) Point(repo *repository.Repository, b record.Backup) *Point {
	return &Point{chains: c, repo: repo, backup: b}
}

func (p *Point) read() (manifest.Manifest, error) {
	p.once.Do(func() { p.manifest, p.err = p.chains.ReadPoint(p.repo, p.backup) })
	return p.manifest, p.err
}

// Load walks from the image of a disk down to the one that stands on nothing, by the manifests alone. suspect is told of a manifest
// that cannot be read.
func (c *Chains) Load(points []*Point, diskID int, suspect func(p record.Backup, file string, err error)) (links []Link, err error) {
	is := func(d manifest.Disk) bool { return d.DiskID == diskID }
	for i, p := range points {
		m, err := p.read()
		if err != nil {
			suspect(p.backup, manifest.FileName, err)
			return links, err
		}
		d, found := Pick(m.Disks, is)
		if !found {
			return links, Damagef("backup %s: its manifest lacks the image of disk %d", p.backup.ID, diskID)
		}
		l := Link{Dir: repositories.DirOf(p.repo, p.backup), Key: d.KeyID(), Point: p.backup, Disk: d}
		links = append(links, l)
		if d.Backing == "" {
			return links, nil
		}
		if i+1 == len(points) || path.Dir(d.Backing) != "../"+points[i+1].backup.ID {
			return links, Damagef("image %s is based on %s, which does not belong to its parent", l.Path(), d.Backing)
		}
		is = func(below manifest.Disk) bool { return below.File == path.Base(d.Backing) }
	}
	return links, Damagef("its chain of images does not end")
}

func (l Link) Damaged(problem string) record.RestoreDamage {
	return record.RestoreDamage{BackupID: l.Point.ID, Path: l.Path(), Problem: problem}
}

// DamageOf is what is on record of an image, and of the manifest that it is read by. It stays until a verification finds the file
// whole.
func DamageOf(l Link) (list []record.RestoreDamage) {
	for _, d := range l.Point.Damage() {
		if d.File == l.Disk.File || d.File == manifest.FileName {
			found := l.Damaged("was found damaged at " + l.Point.Verified.At.UTC().Format("2006-01-02T15:04:05Z") + ": " + d.Problem)
			found.Path = filepath.Join(l.Dir, d.File)
			list = append(list, found)
		}
	}
	return list
}

func Pick(disks []manifest.Disk, is func(manifest.Disk) bool) (manifest.Disk, bool) {
	for _, d := range disks {
		if is(d) {
			return d, true
		}
	}
	return manifest.Disk{}, false
}
