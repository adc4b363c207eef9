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
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units/pair"
)

// nameImage sets the file from which a disk is served: the restore point's own image, or an overlay on it. The repository may be
// mounted at another path than when the backup was made.
func nameImage(r *record.Restore, d *record.RestoreDisk, repo *storage.Repository, point record.Backup) {
	image := filepath.Join(repositories.DirOf(repo, point), filepath.Base(point.Run(d.DiskID).Image))
	d.Image = image
	if !r.Writable {
		return
	}
	d.Image = filepath.Join(r.Directory, d.ExportName+".qcow2")
	if relative, err := filepath.Rel(r.Directory, image); err == nil { // both are in the repository
		d.Backing = relative
	}
}

// export serves every disk of a restore. It records what is served on which port.
func (j *restoreJob) export(r record.Restore) (record.Restore, error) {
	s := j.service
	repo, err := s.Repositories.Find(r.Repository)
	if err != nil {
		return r, err
	}
	if r, err = s.Records.AdvanceRestore(r.ID, record.RestoreExporting, nil); err != nil {
		return r, err
	}
	mode, err := repo.IOMode()
	if err != nil {
		mode = qemu.BufferedIO // the repository is read-only, which is enough here
	}
	layers, r, err := j.prove(r, repo)
	if err != nil {
		return r, j.causeOr(err)
	}
	if r, err = j.makeScratch(r, repo); err != nil {
		return r, err
	}
	served := make([]record.RestoreDisk, len(r.Disks))
	group, ctx := errgroup.WithContext(j.Ctx)
	group.SetLimit(export.MaxParallelDisks)
	for i, d := range r.Disks {
		group.Go(func() error {
			var err error
			served[i], err = j.exportDisk(ctx, exportPlan{repo: repo, mode: mode, restore: r, layers: layers[d.DiskID]}, d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return r, j.causeOr(err)
	}
	targets, err := restoreTargets(s.Config.NBD.Host, served)
	if err != nil {
		return r, fault.New(fault.Internal, "restore %s: %w", r.ID, err)
	}
	if r.Files != nil {
		if r.Files.InvocationID, err = j.startReader(r, served[0]); err != nil {
			return r, j.causeOr(err)
		}
	}
	reader := r.Files
	return s.Records.AdvanceRestore(r.ID, record.RestoreServing, func(r *record.Restore) {
		r.Targets = targets
		copy(r.Disks, served)
		r.Files = reader
		if r.VerifyDigests { // its lifetime begins when it is served: reading may have taken longer than its lifetime
			since := time.Since(r.CreatedAt)
			r.ExpiresAt, r.LatestAt = r.ExpiresAt.Add(since), r.LatestAt.Add(since)
		}
	})
}

// causeOr returns the cause of the job's end if it has been canceled, and err otherwise.
func (j *restoreJob) causeOr(err error) error {
	if j.Ctx.Err() != nil {
		return context.Cause(j.Ctx)
	}
	return err
}

// makeScratch makes the directory for the overlays of a writable restore. It records that the directory may exist before it makes
// it.
func (j *restoreJob) makeScratch(r record.Restore, repo *storage.Repository) (record.Restore, error) {
	if !r.Writable {
		return r, nil
	}
	r, err := j.service.Records.ChangeRestore(r.ID, func(r *record.Restore) error {
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

// restoreTargets records in each disk where it is served, and returns one string for all of them.
func restoreTargets(host string, disks []record.RestoreDisk) (string, error) {
	targets := make([]nbd.Target, len(disks))
	for i, d := range disks {
		targets[i] = nbd.Target{DiskKey: d.Key, Host: host, Port: d.Port, Export: d.ExportName}
		disks[i].URL = targets[i].URL()
	}
	return nbd.TargetsString(targets)
}

// exportPlan is what exportDisk needs to serve a disk of a restore.
type exportPlan struct {
	repo    *storage.Repository
	mode    qemu.IOMode
	restore record.Restore
	layers  []chain.Layer // the images of the disk, the newest first
}

// exportDisk serves one disk. Then it checks that it serves the right export, of the right size, and that only a writable restore
// can be written.
func (j *restoreJob) exportDisk(ctx context.Context, p exportPlan, d record.RestoreDisk) (record.RestoreDisk, error) {
	if p.restore.Writable {
		if err := j.makeOverlay(ctx, p, d); err != nil {
			return d, j.diskError(fault.ImageFailed, d, err)
		}
	}
	var foreign error
	u, err := j.service.Exports.StartOnFreePort(ctx,
		func() (pair.Spec, error) { return j.exporterSpec(p, d) },
		func() error {
			d, foreign = j.nextPort(d)
			return foreign
		})
	failpoint.Reach("restore: exporter started")
	switch {
	case foreign != nil || errors.Is(err, export.ErrForeignPorts):
		return d, j.diskError(fault.NoFreePort, d, err)
	case err != nil:
		return d, j.diskError(fault.ExporterFailed, d, err)
	}
	info, err := j.service.Exports.Probe(ctx, d.Port, d.ExportName, d.Unit, d.CapacityBytes)
	if err == nil && info.ReadOnly() == p.restore.Writable {
		err = fmt.Errorf("export %s is read-only: %v, want %v", d.ExportName, info.ReadOnly(), !p.restore.Writable)
	}
	if err != nil {
		return d, j.diskError(fault.ExporterFailed, d, err)
	}
	d.InvocationID, d.PID, d.IO = u.InvocationID, u.MainPID, p.mode.String()
	return d, nil
}

// scratchKey is the id of the key of the overlays: like the restore point, they hold data of a guest.
func (j *restoreJob) scratchKey(p exportPlan) string {
	return cmp.Or(j.service.Repositories.NewKey(p.repo), p.layers[0].Key)
}

// makeOverlay makes the image that receives what clients write to a disk.
func (j *restoreJob) makeOverlay(ctx context.Context, p exportPlan, d record.RestoreDisk) error {
	ctx, cancel := context.WithTimeout(ctx, j.service.Config.NBD.StopTimeout.Std())
	defer cancel()
	tools, err := j.service.Repositories.ImagesFor(p.repo, j.scratchKey(p))
	if err != nil {
		return err
	}
	failpoint.Reach("restore: before overlay")
	err = tools.Create(ctx, qemu.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing})
	failpoint.Reach("restore: overlay made")
	return err
}

// nextPort replaces the lease of a disk whose port is held by another process.
func (j *restoreJob) nextPort(d record.RestoreDisk) (record.RestoreDisk, error) {
	s := j.service
	s.Ports.Foreign.Note(d.Port)
	s.Log.Warn("port is held by another process", logkey.Port, d.Port, logkey.Holder, sockets.Listener(d.Port), logkey.RestoreID, j.ID, logkey.Disk, d.DiskID)
	failpoint.Reach("restore: before relet")
	r, err := s.Records.UpdateRestore(j.ID, ledger.Unchanged, store.WithNewRestorePort(d.DiskID, s.Ports.Choose, func(r *record.Restore, l record.Lease) {
		r.Disk(l.DiskID).Unit = export.UnitName(r.ID, l.DiskID, l.Nonce)
		failpoint.Reach("restore: committing relet")
	}))
	failpoint.Reach("restore: after relet")
	if err != nil {
		return d, fmt.Errorf("port %d is held by another process (%s): %w", d.Port, sockets.Listener(d.Port), err)
	}
	return *r.Disk(d.DiskID), nil
}

// exporterSpec is the unit pair of one disk. Its qemu-nbd sees only those directories of the repository that hold images of the
// disk, and can write only the overlays of this restore.
func (j *restoreJob) exporterSpec(p exportPlan, d record.RestoreDisk) (pair.Spec, error) {
	var ids, dirs []string
	e := export.Exporter{
		Unit:        d.Unit,
		Description: fmt.Sprintf("NBD export of disk %d of backup %s for restore %s", d.DiskID, p.restore.BackupID, p.restore.ID),
		Image:       d.Image, Export: d.ExportName, Address: j.service.Exports.Address(d.Port),
		IO: p.mode, Repository: p.repo.Path, ReadOnly: !p.restore.Writable,
	}
	if p.restore.Writable {
		e.Directory, ids = p.restore.Directory, []string{j.scratchKey(p)}
	}
	for _, l := range p.layers {
		ids, dirs = append(ids, l.Key), append(dirs, l.Dir)
	}
	keys, err := j.service.Repositories.KeyFiles(p.repo, ids)
	if err != nil {
		return pair.Spec{}, err
	}
	e.Ancestors, e.Keys = dirs, keys
	return e.Spec(j.service.Config)
}

// diskError makes an error about one disk. It names the unit and has the unit's last journal lines, if there are any.
func (j *restoreJob) diskError(reason fault.Reason, d record.RestoreDisk, err error) error {
	if j.Ctx.Err() != nil {
		return context.Cause(j.Ctx)
	}
	e := export.UnitError(reason, "restore "+j.ID, d.DiskID, d.Unit, err)
	e.RestoreID = j.ID
	return e
}
