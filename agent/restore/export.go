package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units/pair"
)

// nameImage says which file a disk is served from: the restore point's own image, or an overlay on it. The repository may
// be mounted elsewhere than when the backup was made.
func nameImage(r *record.Restore, d *record.RestoreDisk, repo *repository.Repository, point record.Backup) {
	image := filepath.Join(repositories.DirOf(repo, point), filepath.Base(point.Run(d.DiskID).Image))
	d.Image = image
	if !r.Writable {
		return
	}
	d.Image = filepath.Join(r.Directory, d.ExportName+".qcow2")
	if relative, err := filepath.Rel(r.Directory, image); err == nil { // both lie in the repository
		d.Backing = relative
	}
}

// export serves every disk of a restore. At the end the record holds what is served where.
func (x *restoration) export(r record.Restore) (record.Restore, error) {
	a := x.service
	repo, err := a.Repositories.Find(r.Repository)
	if err != nil {
		return r, err
	}
	if r, err = a.Records.AdvanceRestore(r.ID, record.RestoreExporting, nil); err != nil {
		return r, err
	}
	mode, err := repo.IOMode()
	if err != nil {
		mode = qemu.BufferedIO // it cannot be written, as it need not be
	}
	links, r, err := x.prove(r, repo)
	if err != nil {
		return r, x.unless(err)
	}
	if r, err = x.makeScratch(r, repo); err != nil {
		return r, err
	}
	served := make([]record.RestoreDisk, len(r.Disks))
	group, ctx := errgroup.WithContext(x.Ctx)
	group.SetLimit(export.MaxParallelDisks)
	for i, d := range r.Disks {
		group.Go(func() error {
			var err error
			served[i], err = x.exportDisk(ctx, exportPlan{repo: repo, mode: mode, restore: r, links: links[d.DiskID]}, d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return r, x.unless(err)
	}
	targets, err := restoreTargets(a.Config.NBD.Host, served)
	if err != nil {
		return r, fault.New(fault.Internal, "restore %s: %w", r.ID, err)
	}
	if r.Files != nil {
		if r.Files.InvocationID, err = x.startReader(r, served[0]); err != nil {
			return r, x.unless(err)
		}
	}
	reader := r.Files
	return a.Records.AdvanceRestore(r.ID, record.RestoreServing, func(r *record.Restore) {
		r.Targets = targets
		copy(r.Disks, served)
		r.Files = reader
		if r.VerifyDigests { // its time begins when it is served: the reading may have taken longer than that
			since := time.Since(r.CreatedAt)
			r.ExpiresAt, r.LatestAt = r.ExpiresAt.Add(since), r.LatestAt.Add(since)
		}
	})
}

// unless is the cause for which the restore ends, if it ends, and otherwise the error.
func (x *restoration) unless(err error) error {
	if x.Ctx.Err() != nil {
		return context.Cause(x.Ctx)
	}
	return err
}

// makeScratch makes the directory of the overlays of a writable restore. That it may be there is on record before it is.
func (x *restoration) makeScratch(r record.Restore, repo *repository.Repository) (record.Restore, error) {
	if !r.Writable {
		return r, nil
	}
	r, err := x.service.Records.ChangeRestore(r.ID, func(r *record.Restore) error {
		r.ScratchMade = true
		return nil
	})
	if err != nil {
		return r, err
	}
	if err := repo.MakeScratch(r.ID); err != nil {
		return r, repositories.Fault(err)
	}
	failpoint.Reach("restore: directory made")
	return r, nil
}

// restoreTargets tells where the disks are served: in the record of each, and in one string for all.
func restoreTargets(host string, disks []record.RestoreDisk) (string, error) {
	targets := make([]nbd.Target, len(disks))
	for i, d := range disks {
		targets[i] = nbd.Target{DiskKey: d.Key, Host: host, Port: d.Port, Export: d.ExportName}
		disks[i].URL = targets[i].URL()
	}
	return nbd.TargetsString(targets)
}

// exportPlan is what the export of a disk of a restore needs to know.
type exportPlan struct {
	repo    *repository.Repository
	mode    qemu.IOMode
	restore record.Restore
	links   []chain.Link // the images that the disk consists of, the newest first
}

// exportDisk serves one disk, and looks that what is served is the right export, of the right size, and cannot be written
// unless it may.
func (x *restoration) exportDisk(ctx context.Context, p exportPlan, d record.RestoreDisk) (record.RestoreDisk, error) {
	if p.restore.Writable {
		if err := x.makeOverlay(ctx, p, d); err != nil {
			return d, x.diskError(fault.ImageFailed, d, err)
		}
	}
	var foreign error
	u, err := x.service.Exports.StartOnFreePort(ctx,
		func() (pair.Spec, error) { return x.exporterSpec(p, d) },
		func() error {
			d, foreign = x.nextPort(d)
			return foreign
		})
	failpoint.Reach("restore: exporter started")
	switch {
	case foreign != nil || errors.Is(err, export.ErrForeignPorts):
		return d, x.diskError(fault.NoFreePort, d, err)
	case err != nil:
		return d, x.diskError(fault.ExporterFailed, d, err)
	}
	info, err := x.service.Exports.Probe(ctx, d.Port, d.ExportName, d.Unit, d.CapacityBytes)
	if err == nil && info.ReadOnly() == p.restore.Writable {
		err = fmt.Errorf("export %s is read-only: %v, want %v", d.ExportName, info.ReadOnly(), !p.restore.Writable)
	}
	if err != nil {
		return d, x.diskError(fault.ExporterFailed, d, err)
	}
	d.InvocationID, d.PID, d.IO = u.InvocationID, u.MainPID, p.mode.String()
	return d, nil
}

// scratchKey is the id of the key of the overlays: they hold a guest's data, as the restore point does.
func (x *restoration) scratchKey(p exportPlan) string {
	return cmp.Or(x.service.Repositories.NewKey(p.repo), p.links[0].Key)
}

// makeOverlay makes the image that takes in what clients write to a disk.
func (x *restoration) makeOverlay(ctx context.Context, p exportPlan, d record.RestoreDisk) error {
	ctx, cancel := context.WithTimeout(ctx, x.service.Config.NBD.StopTimeout.Std())
	defer cancel()
	tools, err := x.service.Repositories.ToolsFor(p.repo, x.scratchKey(p))
	if err != nil {
		return err
	}
	failpoint.Reach("restore: before overlay")
	err = tools.Create(ctx, qemu.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing})
	failpoint.Reach("restore: overlay made")
	return err
}

// nextPort swaps the lease of a disk whose port is held by another process.
func (x *restoration) nextPort(d record.RestoreDisk) (record.RestoreDisk, error) {
	a := x.service
	a.Ports.Foreign.Note(d.Port)
	a.Log.Warn("port is held by another process", logkey.Port, d.Port, logkey.Holder, sockets.Listener(d.Port), logkey.RestoreID, x.ID, logkey.Disk, d.DiskID)
	failpoint.Reach("restore: before relet")
	r, err := a.Records.UpdateRestore(x.ID, export.Unchanged, store.WithNewRestorePort(d.DiskID, a.Ports.Choose, func(r *record.Restore, l record.Lease) {
		r.Disk(l.DiskID).Unit = export.UnitName(r.ID, l.DiskID, l.Nonce)
		failpoint.Reach("restore: committing relet")
	}))
	failpoint.Reach("restore: after relet")
	if err != nil {
		return d, fmt.Errorf("port %d is held by another process (%s): %w", d.Port, sockets.Listener(d.Port), err)
	}
	return *r.Disk(d.DiskID), nil
}

// exporterSpec is the unit pair of one disk: qemu-nbd, seeing of the repository what the disk consists of, and able to
// write nothing of it but the overlays of this restore.
func (x *restoration) exporterSpec(p exportPlan, d record.RestoreDisk) (pair.Spec, error) {
	var ids, dirs []string
	e := export.Exporter{
		Unit:        d.Unit,
		Description: fmt.Sprintf("NBD export of disk %d of backup %s for restore %s", d.DiskID, p.restore.BackupID, p.restore.ID),
		Image:       d.Image, Export: d.ExportName, Address: x.service.Exports.Address(d.Port),
		IO: p.mode, Repository: p.repo.Path, ReadOnly: !p.restore.Writable,
	}
	if p.restore.Writable {
		e.Directory, ids = p.restore.Directory, []string{x.scratchKey(p)}
	}
	for _, l := range p.links {
		ids, dirs = append(ids, l.Key), append(dirs, l.Dir)
	}
	keys, err := x.service.Repositories.KeyFiles(p.repo, ids)
	if err != nil {
		return pair.Spec{}, err
	}
	e.Ancestors, e.Keys = dirs, keys
	return e.Spec(x.service.Config)
}

// diskError makes an error about one disk, with its unit and the unit's last journal lines where there are any.
func (x *restoration) diskError(reason fault.Reason, d record.RestoreDisk, err error) error {
	if x.Ctx.Err() != nil {
		return context.Cause(x.Ctx)
	}
	e := export.UnitError(reason, "restore "+x.ID, d.DiskID, d.Unit, err)
	e.RestoreID = x.ID
	return e
}
