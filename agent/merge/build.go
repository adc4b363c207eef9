package merge

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// build makes the new images and the directory that holds them, and syncs everything.
func (w *Merge) build(p *plan) error {
	failpoint.Reach("rewrite: before the directory")
	if err := p.repo.MakeMerge(w.Ctx, p.vm, w.ID); err != nil {
		return repositories.Fault(err)
	}
	failpoint.Reach("rewrite: directory made")
	defer w.watchRoom(p)()
	var total, done int64
	for _, d := range p.disks {
		total += d.weight + 1
	}
	for i := range p.disks {
		scale := func(phase string, from float64) func(float64) {
			return func(f float64) {
				part := from + f*(1-from)/2
				w.progress(phase, (float64(done)+part*float64(p.disks[i].weight+1))/float64(total))
			}
		}
		if err := w.buildDisk(p, i, scale); err != nil {
			return err
		}
		done += p.disks[i].weight + 1
	}
	if err := p.repo.SealMerge(w.Ctx, p.vm, p.manifest, p.linked); err != nil {
		return repositories.Fault(err)
	}
	failpoint.Reach("rewrite: sealed")
	return nil
}

// buildDisk makes the image of one disk, and proves that its content is that of the old one.
func (w *Merge) buildDisk(p *plan, i int, scale func(phase string, from float64) func(float64)) error {
	d, r := &p.manifest.Disks[i], p.disks[i]
	if r.untouched() {
		p.linked = append(p.linked, d.File)
		return nil
	}
	if err := w.proveLayers(p, r); err != nil {
		return err
	}
	key := w.service.newKey(p, *d)
	tools, old, err := w.service.tools(p, key, r)
	if err != nil {
		return w.diskError(d.DiskID, err)
	}
	image := filepath.Join(p.repo.MergeDir(p.vm, w.ID), d.File)
	// Clusters of 64 KiB also for a full image: its tables take less room than with the large clusters that are best for a copy.
	spec := qemu.ImageSpec{Path: image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing}
	failpoint.Reach("rewrite: before an image")
	err = tools.Merge(w.Ctx, qemu.MergeSpec{
		Layers: old[:r.merged], Base: old[r.merged:], Image: spec, Cache: p.mode.Cache, Progress: scale(phaseMerging, 0),
	})
	failpoint.Reach("rewrite: image made")
	if err != nil {
		return w.diskError(d.DiskID, err)
	}
	check, info, err := inspectImage(w.Ctx, tools, image)
	if err == nil && (info.VirtualBytes != d.CapacityBytes || info.BackingFile != d.Backing || info.Encrypted != (key != "")) {
		err = fmt.Errorf("image %s differs from what was requested: %d bytes, backing file %q, encrypted %v",
			image, info.VirtualBytes, info.BackingFile, info.Encrypted)
	}
	if err != nil {
		return w.diskError(d.DiskID, err)
	}
	*d = mergedDisk(*d, check, info)
	d.Encryption = repositories.Encryption(key)
	if d.Digest, err = w.readBack(p, d.File); err != nil {
		return w.diskError(d.DiskID, err)
	}
	scale(phaseComparing, 0.5)(0)
	if err := tools.Compare(w.Ctx, old, append([]qemu.Layer{{Path: image, Key: tools.Key}}, old[r.merged:]...)); err != nil {
		return w.diskError(d.DiskID, err)
	}
	scale(phaseComparing, 0.5)(1)
	failpoint.Reach("rewrite: image compared")
	return nil
}

// newKey is the key of the new image of a disk; "" for none. An encrypted image stays encrypted, with the key of new images. A plain image
// stays plain. No chain has both.
func (s *Service) newKey(p *plan, d manifest.Disk) string {
	if d.Encryption == nil {
		return ""
	}
	return cmp.Or(s.Repositories.NewKey(p.repo), d.KeyID())
}

// tools returns the tools for a new image, and the images of the old chain with their keys.
func (s *Service) tools(p *plan, key string, r diskMerge) (storage.Images, []qemu.Layer, error) {
	tools, err := s.Repositories.ImagesFor(p.repo, key)
	if err != nil {
		return tools, nil, err
	}
	old, err := s.Chains.WithKeys(p.repo, r.layers)
	return tools, old, err
}

// proveLayers reads the images that will be merged, and compares them with their digests: an image that has changed since its backup
// must not be re-digested as valid.
func (w *Merge) proveLayers(p *plan, r diskMerge) error {
	for _, layer := range r.layers[:r.merged] {
		was := layer.Disk.Digest
		if was == nil {
			continue // an older agent made it
		}
		now, err := w.service.Repositories.Digest(w.Ctx, repositories.Background, p.repo, layer.Point, layer.Disk.File, repositories.ReadOptions{})
		if err != nil {
			return w.diskError(layer.Disk.DiskID, err)
		}
		if err := was.Compare(now); err != nil {
			return damagedChain(w.ID, chain.Damagef("image %s: %w", layer.Path(), err))
		}
	}
	return nil
}

// readBack reads a new image from the disk, as a backup does at its end.
func (w *Merge) readBack(p *plan, file string) (*digest.Digest, error) {
	sum, err := w.service.Repositories.DigestMerge(w.Ctx, p.repo, p.vm, w.ID, file)
	return &sum, err
}

// mergedDisk is a disk with its new image. It takes over nothing that describes the old image file itself.
func mergedDisk(d manifest.Disk, check manifest.Check, info qcow2.Info) manifest.Disk {
	return manifest.Disk{
		DiskID: d.DiskID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, Key: d.Key, Label: d.Label,
		CapacityBytes: d.CapacityBytes, File: d.File, Format: d.Format, Content: d.Content, Change: d.Change, Backing: d.Backing,
		ChangeID: d.ChangeID, Copied: d.Copied, CopiedWhy: d.CopiedWhy, CopyOrder: d.CopyOrder,
		ReceivedBytes: d.ReceivedBytes, AllocatedBytes: info.ActualBytes, Check: check, IO: d.IO,
		ClusterBytes: info.ClusterBytes, ExtendedL2: info.ExtendedL2,
	}
}

// inspectImage checks the metadata of an image that no process has open, and frees leaked clusters.
func inspectImage(ctx context.Context, images storage.Images, path string) (manifest.Check, qcow2.Info, error) {
	check := manifest.Check{Result: manifest.CheckClean}
	found, err := images.Check(ctx, path)
	if err == nil && found.Leaks > 0 {
		found, err = images.RepairLeaks(ctx, path)
		check = manifest.Check{Result: manifest.CheckRepaired, LeaksRepaired: found.LeaksFixed}
	}
	if err != nil {
		return check, qcow2.Info{}, err
	}
	info, err := images.Info(ctx, path)
	return check, info, err
}

func (w *Merge) diskError(diskID int, err error) error {
	if repositories.IsKeyError(err) {
		return damagedChain(w.ID, err)
	}
	e := fault.New(fault.ImageFailed, "backup %s: disk %d: the new image: %w", w.ID, diskID, err)
	if repositories.IsNoSpace(err) {
		e.Reason, e.Hint = fault.NoSpace, "free space in the repository: delete restore points without children"
	}
	e.BackupID, e.DiskID = w.ID, new(diskID)
	return e
}

// roomInterval is how often watchRoom checks that a merge leaves the space that running backups need.
const roomInterval = 2 * time.Second

// watchRoom cancels the merge when the repository runs full. A merge can be repeated later; a backup cannot.
func (w *Merge) watchRoom(p *plan) (stop func()) {
	ctx, cancel := context.WithCancel(w.Ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for job.Pause(ctx, roomInterval) {
			if err := repositories.CheckSpace(ctx, p.repo, w.service.Config.Space.Floor, "space.floor"); fault.From(err).Has(fault.NoSpace) {
				w.Cancel(err)
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
