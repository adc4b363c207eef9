package merge

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// A rewritePlan is what is known before anything is made.
type plan struct {
	point    record.Backup
	repo     *repository.Repository
	vm       string // directory
	mode     qemu.IOMode
	manifest manifest.Manifest // as it will be
	disks    []diskMerge       // in its order
	linked   []string          // images that stay as they are
}

// A diskRewrite says of which images the new one of a disk is made.
type diskMerge struct {
	images []string        // that it consists of, the newest first
	known  []manifest.Disk // what the manifests say of each
	merged int             // so many are merged; the new one stands on the others
	weight int64           // bytes that those that are merged take
}

// plan proves the chain of a restore point, and finds out what its images are to be.
func (w *Merge) plan() (*plan, error) {
	a := w.service
	point, err := a.Records.Backup(w.ID)
	if err != nil {
		return nil, err
	}
	if point.State != record.Completed {
		e := fault.New(fault.WrongState, "backup %s is %s: only a completed backup is a restore point", w.ID, point.State)
		e.BackupID = w.ID
		return nil, e
	}
	repo, err := a.Repositories.Deletable(point) // it is where its record says
	if err != nil {
		return nil, err
	}
	if err := a.Chains.Prove(w.Ctx, repo, point); err != nil {
		return nil, damagedChain(w.ID, err)
	}
	p := &plan{point: point, repo: repo, vm: nbd.DirName(point.VM.Name)}
	if p.mode, err = repo.IOMode(); err != nil {
		return nil, repositories.Fault(err)
	}
	manifests, err := w.manifests(p)
	if err != nil {
		return nil, damagedChain(w.ID, err)
	}
	if err := p.choose(manifests, w.onto); err != nil {
		return nil, damagedChain(w.ID, err)
	}
	return p, p.checkRoom(a)
}

// damagedChain is what is told of a restore point that cannot be written anew because of what it is made of.
func damagedChain(id string, err error) error {
	if repositories.IsKeyError(err) {
		e := *fault.From(err)
		e.Message = fmt.Sprintf("backup %s cannot be merged: %s", id, e.Message)
		e.BackupID = id
		return &e
	}
	var damage *chain.Damage
	if !errors.As(err, &damage) {
		return repositories.Fault(fmt.Errorf("restore point %s cannot be checked: %w", id, err))
	}
	e := fault.New(fault.ImageFailed, "backup %s cannot be merged, because its chain is damaged: %w", id, err)
	e.BackupID, e.Hint = id, "nothing was changed. Restore what can be restored, and make a full backup"
	return e
}

// manifests are those of a restore point and all it stands on, the newest first.
func (w *Merge) manifests(p *plan) ([]manifest.Manifest, error) {
	points, err := w.service.Chains.Points(p.point)
	if err != nil {
		return nil, err
	}
	list := make([]manifest.Manifest, len(points))
	for i, point := range points {
		if list[i], err = p.repo.Manifest(p.vm, point.ID); err != nil {
			return nil, chain.Finding(err)
		}
	}
	return list, nil
}

// choose says what each disk is made of, and what the manifest will be.
func (p *plan) choose(points []manifest.Manifest, onto string) error {
	m := points[0]
	if m.Parent == onto {
		return fault.New(fault.WrongState, "backup %s already has that parent", m.BackupID)
	}
	ground := len(points) // in chain, of what it will stand on
	for i := range points {
		if points[i].BackupID == onto {
			ground = i
		}
	}
	m.Parent, m.Type, m.RemovedDisks = onto, record.Incremental, nil
	merged := ground - 1
	before := record.Merged{}
	if m.Merge != nil {
		before = *m.Merge
	}
	m.Merge = &record.Merged{At: time.Now().UTC(), Points: before.Points + merged}
	below := manifest.Manifest{}
	if onto == "" {
		m.Type, m.Merge.Synthetic = record.Full, true
	} else {
		below = points[ground]
		m.RemovedDisks = removedFrom(below, m)
	}
	m.Disks = append([]manifest.Disk(nil), m.Disks...)
	for i := range m.Disks {
		images, content, err := p.images(points, m.Disks[i])
		if err != nil {
			return err
		}
		p.disks = append(p.disks, split(&m.Disks[i], images, content, ground))
		setChange(&m.Disks[i], p.disks[i], below)
	}
	p.manifest = m
	return nil
}

// images are those that a disk consists of, the newest first, and what the manifests say of each.
func (p *plan) images(points []manifest.Manifest, d manifest.Disk) (paths []string, disks []manifest.Disk, err error) {
	for i := range points {
		paths = append(paths, filepath.Join(p.repo.Dir(p.vm, points[i].BackupID), d.File))
		disks = append(disks, d)
		if d.Backing == "" {
			return paths, disks, nil
		}
		file, found := path.Base(d.Backing), false
		if i+1 < len(points) {
			d, found = chain.Pick(points[i+1].Disks, func(below manifest.Disk) bool { return below.File == file })
		}
		if !found {
			return nil, nil, chain.Damagef("image %s is based on %s, which does not belong to its parent", paths[i], file)
		}
	}
	return nil, nil, chain.Damagef("the chain of disk %d does not end", d.DiskID)
}

// split says which images of a disk are merged, and which the new one stands on. A disk whose chain ends above the ground stands
// on nothing.
func split(d *manifest.Disk, images []string, disks []manifest.Disk, ground int) (r diskMerge) {
	ground = min(ground, len(images))
	r.images, r.known, r.merged = images, disks, ground
	for _, layer := range r.known[:ground] {
		r.weight += layer.AllocatedBytes
	}
	d.Backing, d.Content = "", record.WholeDisk
	if base := r.images[r.merged:]; len(base) > 0 {
		d.Content = record.Changes
		d.Backing = path.Join("..", filepath.Base(filepath.Dir(base[0])), filepath.Base(base[0]))
	}
	return r
}

// setChange says how a disk differs in shape from that of what it stands on now.
func setChange(d *manifest.Disk, r diskMerge, below manifest.Manifest) {
	from, found := chain.Pick(below.Disks, func(x manifest.Disk) bool { return x.Key == d.Key })
	switch {
	case below.BackupID == "":
		d.Change = ""
	case !found:
		d.Change = record.Added
	case r.alone():
		d.Change = record.Replaced
	case from.CapacityBytes < d.CapacityBytes:
		d.Change = record.Grown
	default:
		d.Change = record.Same
	}
}

// removedFrom lists the disks that a restore point has and another has not.
func removedFrom(below, m manifest.Manifest) (gone []int) {
	for _, d := range below.Disks {
		if _, found := chain.Pick(m.Disks, func(x manifest.Disk) bool { return x.Key == d.Key }); !found {
			gone = append(gone, d.DiskID)
		}
	}
	return gone
}

// alone says whether the image of a disk will hold all of it.
func (r diskMerge) alone() bool { return r.merged == len(r.images) }

// untouched says whether the image of a disk stays as it is: it holds the whole disk already.
func (r diskMerge) untouched() bool { return r.alone() && r.merged == 1 }

// checkRoom fails when the new images might leave less room than backups need to start.
func (p *plan) checkRoom(a *Service) error {
	var need int64
	for _, d := range p.disks {
		if !d.untouched() {
			need += d.weight
		}
	}
	space, err := p.repo.Space()
	if err != nil {
		return repositories.Fault(err)
	}
	if reserve := a.Config.Space.Reserve; int64(space.Free) < need+reserve.Bytes() {
		e := fault.New(fault.NoSpace, "backup %s: the merged images need up to %d MiB; repository %s has %d MiB free, of which %s are reserved (space.reserve)",
			p.point.ID, need>>20, p.repo.ID, space.Free>>20, reserve)
		e.BackupID, e.Hint = p.point.ID, "free space in the repository: delete restore points without children"
		return e
	}
	return nil
}
