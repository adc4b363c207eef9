package restore

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
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
	ctx, stop := repo.WhileAnswering(storage.UntilStuck(j.Ctx)) // the caller waits, and nothing is lost
	defer stop()
	mode, _, err := repo.Images(qemu.Secret{}).DetectIO(ctx)
	if err != nil {
		mode = iomode.Buffered // the repository is read-only, which is enough here
	}
	layers, r, err := j.prove(ctx, r, repo)
	if err != nil {
		return r, j.CauseOr(repositories.StuckOr(ctx, err))
	}
	if r, err = j.makeScratch(ctx, r, repo); err != nil {
		return r, err
	}
	served := make([]record.RestoreDisk, len(r.Disks))
	err = export.Each(ctx, len(r.Disks), func(ctx context.Context, i int) (err error) {
		d := r.Disks[i]
		served[i], err = j.exportDisk(ctx, exportPlan{repo: repo, mode: mode, restore: r, layers: layers[d.DiskID]}, d)
		return err
	})
	if err != nil {
		return r, repositories.StuckOr(ctx, err)
	}
	for i, d := range served {
		served[i].URL = export.Target(s.Config.NBD.Host, d.Served()).URL()
	}
	targets, err := export.Targets(s.Config.NBD.Host, export.Disks(served))
	if err != nil {
		return r, fault.New(fault.Internal, "restore %s: %w", r.ID, err)
	}
	if r.Files != nil {
		if r.Files.InvocationID, err = j.startReader(r, served[0]); err != nil {
			return r, j.CauseOr(err)
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

// makeScratch makes the directory for the overlays of a writable restore. It records that the directory may exist before it makes
// it.
func (j *restoreJob) makeScratch(ctx context.Context, r record.Restore, repo *storage.Repository) (record.Restore, error) {
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
	if err := repo.MakeScratch(ctx, r.ID); err != nil {
		return r, repositories.Fault(err)
	}
	failpoint.Reach("restore: directory made")
	return r, nil
}

// exportPlan is what exportDisk needs to serve a disk of a restore.
type exportPlan struct {
	repo    *storage.Repository
	mode    iomode.Mode
	restore record.Restore
	layers  []chain.Layer // the images of the disk, the newest first
}

// exportDisk serves one disk. Then it checks that it serves the right export, of the right size, and that only a writable restore
// can be written.
func (j *restoreJob) exportDisk(ctx context.Context, p exportPlan, d record.RestoreDisk) (record.RestoreDisk, error) {
	if p.restore.Writable {
		if err := j.makeOverlay(ctx, p, d); err != nil {
			return d, export.DiskError(&j.Job, fault.ImageFailed, d, err)
		}
	}
	e, err := j.exporter(p, d)
	if err != nil {
		return d, export.DiskError(&j.Job, fault.ExporterFailed, d, err)
	}
	d, u, err := export.Start(ctx, j.service.Exports, &j.Job, e, d, j.relet)
	failpoint.Reach("restore: exporter started")
	if err != nil {
		return d, err
	}
	if err := j.service.Exports.Prove(ctx, &j.Job, d, e.ReadOnly); err != nil {
		return d, err
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
	images, err := j.service.Repositories.ImagesFor(p.repo, j.scratchKey(p))
	if err != nil {
		return err
	}
	failpoint.Reach("restore: before overlay")
	err = images.Create(ctx, qemu.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing})
	failpoint.Reach("restore: overlay made")
	return err
}

// relet leases another port for a disk.
func (j *restoreJob) relet(d record.RestoreDisk) (record.RestoreDisk, error) {
	s := j.service
	failpoint.Reach("restore: before relet")
	r, err := s.Records.UpdateRestore(j.ID, ledger.Unchanged, store.WithNewRestorePort(d.DiskID, s.Ports.Choose, func(r *record.Restore, l record.Lease) {
		r.Disk(l.DiskID).Unit = export.UnitName(r.ID, l.DiskID, l.Nonce)
		failpoint.Reach("restore: committing relet")
	}))
	if err != nil {
		return d, err
	}
	return *r.Disk(d.DiskID), nil
}

// exporter is the exporter of one disk. Its qemu-nbd sees only those directories of the repository that hold images of the disk, and
// can write only the overlays of this restore.
func (j *restoreJob) exporter(p exportPlan, d record.RestoreDisk) (export.Exporter, error) {
	e := export.Exporter{
		Description: fmt.Sprintf("NBD export of disk %d of backup %s for restore %s", d.DiskID, p.restore.BackupID, p.restore.ID),
		IO:          p.mode, Repository: p.repo.Path, ReadOnly: !p.restore.Writable,
	}
	keys := chain.KeysOf(p.layers)
	if p.restore.Writable {
		e.Directory, keys = p.restore.Directory, append([]string{j.scratchKey(p)}, keys...)
	}
	for _, l := range p.layers {
		e.Ancestors = append(e.Ancestors, l.Dir)
	}
	var err error
	e.Keys, err = j.service.Repositories.KeyFiles(p.repo, keys)
	return e, err
}
