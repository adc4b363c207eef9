package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/iomode"
)

// exportPlan is what the exports of one backup have in common.
type exportPlan struct {
	repo      *storage.Repository
	mode      iomode.Mode
	backup    record.Backup
	ancestors []record.Backup // the restore points that an incremental is based on, the newest first

	refuseZeroes bool // the same for all disks, even if the configuration changes
}

// exportDisk makes and checks the image of one disk and serves it. Then it checks that it serves the right export, of the right
// size.
func (j *Job) exportDisk(ctx context.Context, p exportPlan, d record.DiskRun) (record.DiskRun, error) {
	start, took := time.Now(), j.service.Metrics.PhaseOfDisk
	if err := j.makeImage(ctx, p.repo, d); err != nil {
		return d, export.DiskError(&j.Job, fault.ImageFailed, d, err)
	}
	took(metrics.PhaseImage, start)
	failpoint.Reach("image made")
	start = time.Now()
	e, err := j.exporter(p, d)
	if err != nil {
		return d, export.DiskError(&j.Job, fault.ExporterFailed, d, err)
	}
	d, u, err := export.Start(ctx, j.service.Exports, &j.Job, e, d, j.relet)
	failpoint.Reach("exporter started")
	if err != nil {
		return d, err
	}
	took(metrics.PhaseUnit, start)
	start = time.Now()
	if err := j.service.Exports.Prove(ctx, &j.Job, d, e.ReadOnly); err != nil {
		return d, err
	}
	took(metrics.PhaseHandshake, start)
	d.InvocationID, d.PID, d.IO = u.InvocationID, u.MainPID, p.mode.String()
	return d, nil
}

// makeImage creates the image and inspects it before any client can write to it.
func (j *Job) makeImage(ctx context.Context, repo *storage.Repository, d record.DiskRun) error {
	ctx, cancel := context.WithTimeout(ctx, j.service.Config.NBD.StopTimeout.Std())
	defer cancel()
	images, err := j.service.Repositories.ImagesFor(repo, d.KeyID)
	if err != nil {
		return err
	}
	failpoint.Reach("before image")
	if err := images.Create(ctx, export.ImageSpec(d)); err != nil {
		return err
	}
	failpoint.Reach("image created")
	made, err := images.Info(ctx, d.Image)
	if err != nil {
		return err
	}
	if made.VirtualBytes != d.CapacityBytes || made.BackingFile != d.Backing || made.Encrypted != (d.KeyID != "") {
		return fmt.Errorf("image %s differs from what was requested: %d bytes, backing file %q, encrypted %v",
			d.Image, made.VirtualBytes, made.BackingFile, made.Encrypted)
	}
	return nil
}

// relet leases another port for a disk.
func (j *Job) relet(d record.DiskRun) (record.DiskRun, error) {
	failpoint.Reach("before relet")
	b, err := j.service.Records.Update(j.ID, ledger.Unchanged, store.WithNewPort(d.DiskID, j.service.Ports.Choose, func(b *record.Backup, l record.Lease) {
		run := b.Run(l.DiskID)
		run.Port, run.Unit = l.Port, export.UnitName(b.ID, l.DiskID, l.Nonce)
		failpoint.Reach("committing relet")
	}))
	if err != nil {
		return d, err
	}
	return *b.Run(d.DiskID), nil
}

// exporter is the exporter of one disk.
func (j *Job) exporter(p exportPlan, d record.DiskRun) (export.Exporter, error) {
	layers, err := chain.Recorded(p.repo, p.backup, d, p.ancestors)
	if err != nil {
		return export.Exporter{}, err
	}
	keys, err := j.service.Repositories.KeyFiles(p.repo, chain.KeysOf(layers))
	return export.Exporter{
		Description: fmt.Sprintf("NBD export %s of backup %s", d.ExportName, p.backup.ID),
		IO:          p.mode, RateLimit: p.backup.RateLimit, RefuseZeroes: p.refuseZeroes,
		Repository: p.repo.Path, Directory: p.backup.Directory, Ancestors: repositories.DirsOf(p.repo, p.ancestors), Keys: keys,
	}, err
}
