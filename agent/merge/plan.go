package merge

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// A plan is what is known before the merge makes anything.
type plan struct {
	point    record.Backup
	repo     *storage.Repository
	vm       string // its directory
	mode     iomode.Mode
	manifest manifest.Manifest // of the merged restore point
	disks    []diskMerge       // in the order of the manifest
	linked   []string          // images that stay unchanged
}

// A diskMerge says which images of a disk are merged.
type diskMerge struct {
	layers []chain.Layer // of the disk, the newest first
	merged int           // the first so many are merged; the new image is based on the others
	weight int64         // allocated bytes of those that are merged
}

// plan proves the chain of a restore point, and decides what its new images are.
func (w *Merge) plan() (*plan, error) {
	a := w.service
	point, err := a.Records.Backup(w.ID)
	if err != nil {
		return nil, err
	}
	if point.State != record.Completed {
		return nil, fault.New(fault.WrongState, "backup %s is %s: only a completed backup is a restore point", w.ID, point.State).OfBackup(w.ID)
	}
	repo, err := a.Repositories.Deletable(point) // checks that it is where its record says
	if err != nil {
		return nil, err
	}
	if err := a.Chains.Prove(w.Ctx, repo, point); err != nil {
		return nil, damagedChain(w.ID, err)
	}
	p := &plan{point: point, repo: repo, vm: nbd.DirName(point.VM.Name)}
	if p.mode, _, err = repo.Images(qemu.Secret{}).DetectIO(w.Ctx); err != nil {
		return nil, repositories.Fault(err)
	}
	return p, a.fill(w.Ctx, p, w.newParent)
}

// Foresee returns by how many bytes a merge would make the restore point larger, and why it cannot be done now; nil if nothing is known
// against it. It reads records, manifests and the tables of the images, and changes nothing.
func (s *Service) Foresee(ctx context.Context, id, newParent string) (grows int64, err error) {
	point, err := s.Records.Backup(id)
	if err != nil {
		return 0, err
	}
	repo, err := s.Repositories.Deletable(point)
	if err != nil {
		return 0, err
	}
	if err := repo.Mounted(ctx); err != nil {
		return 0, repositories.Fault(err)
	}
	p := &plan{point: point, repo: repo, vm: nbd.DirName(point.VM.Name)}
	if err := s.fill(ctx, p, newParent); err != nil {
		return 0, err
	}
	for i, r := range p.disks {
		more, err := s.grows(ctx, p, p.manifest.Disks[i], r)
		if err != nil {
			return 0, damagedChain(id, err)
		}
		grows += more
	}
	return grows, nil
}

// grows is by how many bytes the new image of a disk is larger than its old one.
func (s *Service) grows(ctx context.Context, p *plan, d manifest.Disk, r diskMerge) (int64, error) {
	tools, old, err := s.tools(p, s.newKey(p, d), r)
	if err != nil || r.untouched() {
		return 0, err
	}
	now, err := tools.Info(ctx, old[0].Path)
	if err != nil {
		return 0, err
	}
	then, err := tools.MergedBytes(ctx, old[:r.merged], old[r.merged:])
	return then - now.ActualBytes, err
}

// fill reads the manifests of the chain and decides what the new images are. It fails if there is no room for them.
func (s *Service) fill(ctx context.Context, p *plan, newParent string) error {
	points, manifests, err := s.points(ctx, p)
	if err != nil {
		return damagedChain(p.point.ID, err)
	}
	load := func(diskID int) ([]chain.Layer, error) {
		return s.Chains.Load(ctx, points, diskID, func(record.Backup, string, error) {})
	}
	if err := p.choose(manifests, load, newParent); err != nil {
		return damagedChain(p.point.ID, err)
	}
	return p.checkRoom(ctx, s)
}

// damagedChain is the error for a restore point that cannot be merged because of its chain.
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
	return fault.New(fault.ImageFailed, "backup %s cannot be merged, because its chain is damaged: %w", id, err).OfBackup(id).
		WithHint("nothing was changed. Restore what can be restored, and make a full backup")
}

// points returns a restore point and all it is based on, the newest first, and their manifests.
func (s *Service) points(ctx context.Context, p *plan) ([]*chain.Point, []manifest.Manifest, error) {
	records, err := s.Chains.Points(p.point)
	if err != nil {
		return nil, nil, err
	}
	points, manifests := make([]*chain.Point, len(records)), make([]manifest.Manifest, len(records))
	for i, b := range records {
		points[i] = s.Chains.Point(p.repo, b)
		if manifests[i], err = points[i].Manifest(ctx); err != nil {
			return nil, nil, err
		}
	}
	return points, manifests, nil
}

// choose decides which images of each disk are merged, and what the new manifest is.
func (p *plan) choose(points []manifest.Manifest, load func(diskID int) ([]chain.Layer, error), newParent string) error {
	m := points[0]
	if m.Parent == newParent {
		return fault.New(fault.WrongState, "backup %s already has that parent", m.BackupID)
	}
	parentAt := len(points) // index of the new parent in points; their number if there is none
	for i := range points {
		if points[i].BackupID == newParent {
			parentAt = i
		}
	}
	m.Parent, m.Type, m.RemovedDisks = newParent, record.Incremental, nil
	merged := parentAt - 1
	before := record.Merged{}
	if m.Merge != nil {
		before = *m.Merge
	}
	m.Merge = &record.Merged{At: time.Now().UTC(), Points: before.Points + merged}
	below := manifest.Manifest{}
	if newParent == "" {
		m.Type, m.Merge.Synthetic = record.Full, true
	} else {
		below = points[parentAt]
		m.RemovedDisks = removedFrom(below, m)
	}
	m.Disks = append([]manifest.Disk(nil), m.Disks...)
	for i := range m.Disks {
		layers, err := load(m.Disks[i].DiskID)
		if err != nil {
			return err
		}
		p.disks = append(p.disks, split(&m.Disks[i], layers, parentAt))
		setChange(&m.Disks[i], p.disks[i], below)
	}
	p.manifest = m
	return nil
}

// split decides which images of a disk are merged, and which the new one is based on. If the chain of a disk ends above the new
// parent, the new image is based on none.
func split(d *manifest.Disk, layers []chain.Layer, parentAt int) diskMerge {
	r := diskMerge{layers: layers, merged: min(parentAt, len(layers))}
	for _, layer := range layers[:r.merged] {
		r.weight += layer.Disk.AllocatedBytes
	}
	d.Backing, d.Content = "", record.WholeDisk
	if base := layers[r.merged:]; len(base) > 0 {
		d.Content = record.Changes
		d.Backing = path.Join("..", base[0].Point.ID, base[0].Disk.File)
	}
	return r
}

// setChange sets how a disk differs from that of the new parent.
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

// removedFrom lists the disks of below that m does not have.
func removedFrom(below, m manifest.Manifest) (gone []int) {
	for _, d := range below.Disks {
		if _, found := chain.Pick(m.Disks, func(x manifest.Disk) bool { return x.Key == d.Key }); !found {
			gone = append(gone, d.DiskID)
		}
	}
	return gone
}

// alone reports whether the new image of a disk holds the whole disk.
func (r diskMerge) alone() bool { return r.merged == len(r.layers) }

// untouched reports whether the image of a disk stays unchanged, because it holds the whole disk already.
func (r diskMerge) untouched() bool { return r.alone() && r.merged == 1 }

// checkRoom fails if the new images might leave less space than backups need to start.
func (p *plan) checkRoom(ctx context.Context, a *Service) error {
	var need int64
	for _, d := range p.disks {
		if !d.untouched() {
			need += d.weight
		}
	}
	space, err := p.repo.Space(ctx)
	if err != nil {
		return repositories.Fault(err)
	}
	if reserve := a.Config.Space.Reserve; int64(space.Free) < need+reserve.Bytes() {
		return fault.New(fault.NoSpace, "backup %s: the merged images need up to %d MiB; repository %s has %d MiB free, of which %s are reserved (space.reserve)",
			p.point.ID, need>>20, p.repo.ID, space.Free>>20, reserve).OfBackup(p.point.ID).
			WithHint("free space in the repository: delete restore points without children")
	}
	return nil
}
