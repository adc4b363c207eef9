package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// exportPlan is what the exports of one backup have in common.
type exportPlan struct {
	repo      *storage.Repository
	mode      qemu.IOMode
	backup    record.Backup
	ancestors []record.Backup // the restore points that an incremental is based on, the newest first

	refuseZeroes bool // the same for all disks, even if the configuration changes
}

// exportDisk makes and checks the image of one disk and serves it. Then it checks that it serves the right export, of the right
// size.
func (j *backupJob) exportDisk(ctx context.Context, p exportPlan, d record.DiskRun) (record.DiskRun, error) {
	start, took := time.Now(), j.service.Metrics.PhaseOfDisk
	if err := j.makeImage(ctx, p.repo, d); err != nil {
		return d, export.DiskError(j.Ctx, j.ID, fault.ImageFailed, d, err)
	}
	took(metrics.PhaseImage, start)
	failpoint.Reach("image made")
	start = time.Now()
	u, d, err := j.startExporter(ctx, p, d)
	failpoint.Reach("exporter started")
	if err != nil {
		return d, err
	}
	took(metrics.PhaseUnit, start)
	start = time.Now()
	info, err := j.service.Exports.Probe(ctx, d.Port, d.ExportName, d.Unit, d.CapacityBytes)
	if err != nil {
		return d, export.DiskError(j.Ctx, j.ID, fault.ExporterFailed, d, err)
	}
	if info.ReadOnly() {
		return d, export.DiskError(j.Ctx, j.ID, fault.ExporterFailed, d, fmt.Errorf("export %s cannot be written", d.ExportName))
	}
	took(metrics.PhaseHandshake, start)
	d.InvocationID, d.PID, d.IO = u.InvocationID, u.MainPID, p.mode.String()
	return d, nil
}

// makeImage creates the image and inspects it before any client can write to it.
func (j *backupJob) makeImage(ctx context.Context, repo *storage.Repository, d record.DiskRun) error {
	ctx, cancel := context.WithTimeout(ctx, j.service.Config.NBD.StopTimeout.Std())
	defer cancel()
	tools, err := j.service.Repositories.ImagesFor(repo, d.KeyID)
	if err != nil {
		return err
	}
	failpoint.Reach("before image")
	if err := tools.Create(ctx, export.ImageSpec(d)); err != nil {
		return err
	}
	failpoint.Reach("image created")
	made, err := tools.Info(d.Image)
	if err != nil {
		return err
	}
	if made.VirtualBytes != d.CapacityBytes || made.BackingFile != d.Backing || made.Encrypted != (d.KeyID != "") {
		return fmt.Errorf("image %s differs from what was requested: %d bytes, backing file %q, encrypted %v",
			d.Image, made.VirtualBytes, made.BackingFile, made.Encrypted)
	}
	return nil
}

// startExporter starts the pair of units of one disk.
func (j *backupJob) startExporter(ctx context.Context, p exportPlan, d record.DiskRun) (units.Unit, record.DiskRun, error) {
	u, err := j.service.Exports.StartOnFreePort(ctx,
		func() (pair.Spec, error) { return j.exporterSpec(p, d) },
		func() (err error) {
			d, err = j.nextPort(d)
			return err
		})
	switch {
	case err == nil || fault.From(err).Has(fault.NoFreePort):
		return u, d, err
	case errors.Is(err, export.ErrForeignPorts):
		return u, d, export.DiskError(j.Ctx, j.ID, fault.NoFreePort, d, err)
	}
	return u, d, export.DiskError(j.Ctx, j.ID, fault.ExporterFailed, d, err)
}

// nextPort replaces the lease of a disk whose port is held by another process.
func (j *backupJob) nextPort(d record.DiskRun) (record.DiskRun, error) {
	s := j.service
	s.Ports.Foreign.Note(d.Port)
	s.Log.Warn("port is held by another process", logkey.Port, d.Port, logkey.Holder, sockets.Listener(d.Port), logkey.BackupID, j.ID, logkey.Disk, d.DiskID)
	failpoint.Reach("before relet")
	b, err := s.Records.Update(j.ID, ledger.Unchanged, store.WithNewPort(d.DiskID, s.Ports.Choose, func(b *record.Backup, l record.Lease) {
		run := b.Run(l.DiskID)
		run.Port, run.Unit = l.Port, export.UnitName(b.ID, l.DiskID, l.Nonce)
		failpoint.Reach("committing relet")
	}))
	failpoint.Reach("after relet")
	if err != nil {
		return d, fault.New(fault.NoFreePort, "port %d is held by another process (%s): %w", d.Port, sockets.Listener(d.Port), err).OfBackup(j.ID).OfDisk(d.DiskID)
	}
	return *b.Run(d.DiskID), nil
}

// exporterSpec is the unit pair of one disk.
func (j *backupJob) exporterSpec(p exportPlan, d record.DiskRun) (pair.Spec, error) {
	layers, err := chain.Recorded(p.repo, p.backup, d, p.ancestors)
	if err != nil {
		return pair.Spec{}, err
	}
	keys, err := j.service.Repositories.KeyFiles(p.repo, chain.KeysOf(layers))
	if err != nil {
		return pair.Spec{}, err
	}
	return export.Exporter{
		Unit:        d.Unit,
		Description: fmt.Sprintf("NBD export %s of backup %s", d.ExportName, p.backup.ID),
		Image:       d.Image, Export: d.ExportName, Address: j.service.Exports.Address(d.Port),
		IO: p.mode, RateLimit: p.backup.RateLimit, RefuseZeroes: p.refuseZeroes,
		Repository: p.repo.Path, Directory: p.backup.Directory, Ancestors: repositories.DirsOf(p.repo, p.ancestors), Keys: keys,
	}.Spec(j.service.Config)
}
