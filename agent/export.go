package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// exportPlan is what the exports of one backup have in common.
type exportPlan struct {
	repo      *repository.Repository
	mode      qemu.IOMode
	backup    record.Backup
	ancestors []record.Backup // the restore points that an incremental stands on, the newest first

	refuseZeroes bool // the same for all disks, whatever is configured meanwhile
}

// exportDisk makes the image of one disk, looks that it is what was asked for, serves it, and looks that what is served
// is the right export of the right size.
func (r *run) exportDisk(ctx context.Context, p exportPlan, d record.DiskRun) (record.DiskRun, error) {
	start, took := time.Now(), r.agent.metrics.phaseOfDisk
	if err := r.makeImage(ctx, p.repo, d); err != nil {
		return d, diskError(r.ctx, r.id, ImageFailed, d, err)
	}
	took(phaseImage, start)
	failpoint.Reach("image made")
	start = time.Now()
	u, d, err := r.startExporter(ctx, p, d)
	failpoint.Reach("exporter started")
	if err != nil {
		return d, err
	}
	took(phaseUnit, start)
	start = time.Now()
	info, err := r.agent.probeExport(ctx, d.Port, d.ExportName, d.Unit, d.CapacityBytes)
	if err != nil {
		return d, diskError(r.ctx, r.id, ExporterFailed, d, err)
	}
	if info.ReadOnly() {
		return d, diskError(r.ctx, r.id, ExporterFailed, d, fmt.Errorf("export %s cannot be written", d.ExportName))
	}
	took(phaseHandshake, start)
	d.InvocationID, d.PID, d.IO = u.InvocationID, u.MainPID, p.mode.String()
	return d, nil
}

// makeImage creates the image and inspects it before anybody may write to it.
func (r *run) makeImage(ctx context.Context, repo *repository.Repository, d record.DiskRun) error {
	ctx, cancel := context.WithTimeout(ctx, r.agent.config.NBD.StopTimeout.Std())
	defer cancel()
	tools, err := r.agent.keyedTools(repo, d.KeyID)
	if err != nil {
		return err
	}
	failpoint.Reach("before image")
	if err := tools.Create(ctx, imageSpec(d)); err != nil {
		return err
	}
	failpoint.Reach("image created")
	made, err := tools.Info(d.Image)
	if err != nil {
		return err
	}
	if made.VirtualBytes != d.CapacityBytes || made.BackingFile != d.Backing || made.Encrypted != (d.KeyID != "") {
		return fmt.Errorf("image %s is not what was made: %d bytes, backing file %q, encrypted %v",
			d.Image, made.VirtualBytes, made.BackingFile, made.Encrypted)
	}
	return nil
}

// imageSpec says what image a disk gets. Large clusters make a full copy fast; on an overlay they would copy 1 MiB from
// the backing image for every 64 KiB that changed. An overlay is as large as the disk is now, whatever its parent is.
func imageSpec(d record.DiskRun) qemu.ImageSpec {
	spec := qemu.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing}
	if d.Backing == "" {
		spec.ClusterBytes, spec.ExtendedL2 = qemu.FullClusterBytes, true
	}
	return spec
}

// maxForeignPorts bounds how many ports held by other processes one disk may run into.
const maxForeignPorts = 16

// startExporter starts the pair of units of one disk.
func (r *run) startExporter(ctx context.Context, p exportPlan, d record.DiskRun) (units.Unit, record.DiskRun, error) {
	u, err := r.agent.startOnFreePort(ctx,
		func() (pair.Spec, error) { return r.exporterSpec(p, d) },
		func() (err error) {
			d, err = r.nextPort(d)
			return err
		})
	switch {
	case err == nil || AsError(err).has(NoFreePort):
		return u, d, err
	case errors.Is(err, errForeignPorts):
		return u, d, diskError(r.ctx, r.id, NoFreePort, d, err)
	}
	return u, d, diskError(r.ctx, r.id, ExporterFailed, d, err)
}

// errForeignPorts says that other processes hold whatever port is tried.
var errForeignPorts = fmt.Errorf("the last %d ports tried are all held by other processes", maxForeignPorts)

// startOnFreePort starts the pair of units that spec describes. A port that another process holds is noted, and next leases
// another one in its place.
func (a *Agent) startOnFreePort(ctx context.Context, spec func() (pair.Spec, error), next func() error) (units.Unit, error) {
	for range maxForeignPorts {
		s, err := spec()
		if err != nil {
			return units.Unit{}, err
		}
		failpoint.Reach("before exporter")
		u, err := a.units.Start(ctx, s)
		if err == nil || !errors.Is(err, units.ErrAddressInUse) {
			return u, err
		}
		var start *units.StartError
		if errors.As(err, &start) && start.Cleanup != nil {
			return u, err // the lease names what is left, so it must stay
		}
		if err := next(); err != nil {
			return u, err
		}
	}
	return units.Unit{}, errForeignPorts
}

// probeExport looks that what a port serves is the export of that unit, as large as it must be.
func (a *Agent) probeExport(ctx context.Context, port uint16, export, unit string, size int64) (nbd.ExportInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.NBD.StartTimeout.Std())
	defer cancel()
	info, err := nbd.Probe(ctx, a.address(port), export)
	switch {
	case err != nil:
		return info, err
	case info.Description != unit:
		return info, fmt.Errorf("port %d is served by %q, not by this run's exporter", port, info.Description)
	case info.SizeBytes != uint64(size):
		return info, fmt.Errorf("export %s serves %d bytes, the disk has %d", export, info.SizeBytes, size)
	}
	return info, nil
}

// nextPort swaps the lease of a disk whose port is held by another process.
func (r *run) nextPort(d record.DiskRun) (record.DiskRun, error) {
	a := r.agent
	a.foreign.note(d.Port)
	a.log.Warn("port is held by another process", logPort, d.Port, logHolder, sockets.Listener(d.Port), logBackupID, r.id, logDisk, d.DiskID)
	failpoint.Reach("before relet")
	b, err := a.changeRecord(r.id, unchanged, store.WithNewPort(d.DiskID, a.choosePorts, func(b *record.Backup, l record.Lease) {
		run := b.Run(l.DiskID)
		run.Port, run.Unit = l.Port, unitName(b.ID, l.DiskID, l.Nonce)
		failpoint.Reach("committing relet")
	}))
	failpoint.Reach("after relet")
	if err != nil {
		e := errorf(NoFreePort, "port %d is held by another process (%s): %w", d.Port, sockets.Listener(d.Port), err)
		e.BackupID, e.DiskID = r.id, new(d.DiskID)
		return d, e
	}
	return *b.Run(d.DiskID), nil
}

// unchanged leaves a record to the options of its change.
func unchanged[T any](*T) error { return nil }

// exporterSpec is the unit pair of one disk.
func (r *run) exporterSpec(p exportPlan, d record.DiskRun) (pair.Spec, error) {
	keys, err := r.agent.keyFiles(p.repo, linkKeys(d, p.ancestors))
	if err != nil {
		return pair.Spec{}, err
	}
	return Exporter{
		Unit:        d.Unit,
		Description: fmt.Sprintf("NBD export %s of backup %s", d.ExportName, p.backup.ID),
		Image:       d.Image, Export: d.ExportName, Address: r.agent.address(d.Port),
		IO: p.mode, RateLimit: p.backup.RateLimit, RefuseZeroes: p.refuseZeroes,
		Repository: p.repo.Path, Directory: p.backup.Directory, Ancestors: dirsOf(p.repo, p.ancestors), Keys: keys,
	}.Spec(r.agent.config)
}

// address is where an export listens.
func (a *Agent) address(port uint16) string {
	return net.JoinHostPort(a.config.NBD.Host, strconv.Itoa(int(port)))
}

// diskError makes an error about one disk of a backup, with its unit and the unit's last journal lines where there are any. It is the
// cause of ctx's end, once ctx has ended.
func diskError(ctx context.Context, backupID string, reason Reason, d record.DiskRun, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := unitError(reason, "backup "+backupID, d.DiskID, d.Unit, err)
	e.BackupID = backupID
	return e
}

// RefusalHint is what to do where a QEMU cannot refuse WRITE_ZEROES.
const RefusalHint = "set nbd.qemu_nbd to a qemu-nbd that has the block driver " + qemu.BlkdebugDriver + " (those of Debian and Ubuntu do), or, if the node's client " +
	"reads all that it calls zero, set sna.accept_write_zeroes: with any other client, data would be missing from the restore points"

// unitError makes an error about one disk of a backup or restore.
func unitError(reason Reason, of string, diskID int, unit string, err error) *Error {
	if isKeyError(err) {
		e := *AsError(err)
		e.Message, e.DiskID = fmt.Sprintf("%s: disk %d: %s", of, diskID, e.Message), new(diskID)
		return &e
	}
	if isNoSpace(err) {
		reason = NoSpace // errorf knows it from a full state directory
	}
	e := errorf(reason, "%s: disk %d: %w", of, diskID, err)
	e.DiskID = new(diskID)
	if reason != ImageFailed {
		e.Unit = unit + ".service"
	}
	var start *units.StartError
	if errors.As(err, &start) {
		e.Journal = start.Journal
	}
	if qemu.CannotRefuse(strings.Join(e.Journal, "\n")) {
		e.Message = fmt.Sprintf("%s: disk %d: this QEMU cannot refuse WRITE_ZEROES, as it may not use its driver %s: %v", of, diskID, qemu.BlkdebugDriver, err)
		e.Hint = RefusalHint
	}
	return e
}
