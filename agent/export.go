package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

// exportPlan is what the exports of one backup have in common.
type exportPlan struct {
	repo      *repository.Repository
	mode      nbd.IOMode
	backup    backup.Backup
	ancestors []string // directories of the restore points that an incremental stands on
}

// exportDisk makes the image of one disk, looks that it is what was asked for, serves it, and looks that what is served
// is the right export of the right size.
func (r *run) exportDisk(ctx context.Context, p exportPlan, d backup.DiskRun) (backup.DiskRun, error) {
	if err := r.makeImage(ctx, d); err != nil {
		return d, r.diskError(ImageFailed, d, err)
	}
	failpoint.Reach("image made")
	u, d, err := r.startExporter(ctx, p, d)
	failpoint.Reach("exporter started")
	if err != nil {
		return d, err
	}
	probing, cancel := context.WithTimeout(ctx, r.agent.config.NBD.StartTimeout.Std())
	defer cancel()
	info, err := nbd.Probe(probing, r.agent.address(d.Port), d.ExportName)
	if err != nil {
		return d, r.diskError(ExporterFailed, d, err)
	}
	if info.Description != d.Unit {
		return d, r.diskError(ExporterFailed, d, fmt.Errorf("port %d is served by %q, not by this run's exporter", d.Port, info.Description))
	}
	if info.SizeBytes != uint64(d.CapacityBytes) {
		return d, r.diskError(ExporterFailed, d, fmt.Errorf("export %s serves %d bytes, the disk has %d",
			d.ExportName, info.SizeBytes, d.CapacityBytes))
	}
	d.InvocationID, d.PID, d.IO = u.InvocationID, u.MainPID, p.mode.String()
	return d, nil
}

// makeImage creates the image and inspects it before anybody may write to it.
func (r *run) makeImage(ctx context.Context, d backup.DiskRun) error {
	ctx, cancel := context.WithTimeout(ctx, r.agent.config.NBD.StopTimeout.Std())
	defer cancel()
	tools := r.agent.tools
	if err := tools.Create(ctx, imageSpec(d)); err != nil {
		return err
	}
	info, err := tools.Info(ctx, d.Image)
	if err != nil {
		return err
	}
	if info.VirtualBytes != d.CapacityBytes || info.BackingFile != d.Backing {
		return fmt.Errorf("image %s is not what was made: %d bytes, backing file %q", d.Image, info.VirtualBytes, info.BackingFile)
	}
	return nil
}

// imageSpec says what image a disk gets. Large clusters make a full copy fast; on an overlay they would copy 1 MiB from
// the backing image for every 64 KiB that changed. An overlay is as large as the disk is now, whatever its parent is.
func imageSpec(d backup.DiskRun) nbd.ImageSpec {
	spec := nbd.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing}
	if d.Backing == "" {
		spec.ClusterBytes, spec.ExtendedL2 = nbd.FullClusterBytes, true
	}
	return spec
}

// maxForeignPorts bounds how many ports held by other processes one disk may run into.
const maxForeignPorts = 16

// startExporter starts the pair of units of one disk. A port that another process holds is noted, and the next one is
// leased in its place.
func (r *run) startExporter(ctx context.Context, p exportPlan, d backup.DiskRun) (units.Unit, backup.DiskRun, error) {
	for range maxForeignPorts {
		spec, err := r.exporterSpec(p, d)
		if err != nil {
			return units.Unit{}, d, r.diskError(ExporterFailed, d, err)
		}
		u, err := r.agent.units.Start(ctx, spec)
		if err == nil {
			return u, d, nil
		}
		if !errors.Is(err, units.ErrAddressInUse) {
			return u, d, r.diskError(ExporterFailed, d, err)
		}
		var start *units.StartError
		if errors.As(err, &start) && start.Cleanup != nil {
			return u, d, r.diskError(ExporterFailed, d, err) // the lease names what is left, so it must stay
		}
		if d, err = r.nextPort(d); err != nil {
			return u, d, err
		}
	}
	return units.Unit{}, d, r.diskError(NoFreePort, d, fmt.Errorf("the last %d ports tried are all held by other processes", maxForeignPorts))
}

// nextPort swaps the lease of a disk whose port is held by another process.
func (r *run) nextPort(d backup.DiskRun) (backup.DiskRun, error) {
	a := r.agent
	a.foreign.note(d.Port)
	a.log.Warn("port is held by another process", logPort, d.Port, logHolder, nbd.Listener(d.Port), logBackupID, r.id, logDisk, d.DiskID)
	failpoint.Reach("before relet")
	b, err := a.store.Relet(r.id, d.DiskID, a.choosePorts, time.Now(), func(b *backup.Backup, l backup.Lease) {
		run := b.Run(l.DiskID)
		run.Port, run.Unit = l.Port, unitName(b.ID, l.DiskID, l.Nonce)
	})
	failpoint.Reach("after relet")
	if err != nil {
		e := errorf(NoFreePort, "port %d is held by another process (%s): %w", d.Port, nbd.Listener(d.Port), err)
		e.BackupID, e.DiskID = r.id, new(d.DiskID)
		return d, e
	}
	return *b.Run(d.DiskID), nil
}

// exporterSpec is the unit pair of one disk: qemu-nbd, seeing of the repository nothing but the directory of its backup.
func (r *run) exporterSpec(p exportPlan, d backup.DiskRun) (units.Spec, error) {
	cfg := r.agent.config
	argv, err := nbd.ServerOptions{
		Binary: cfg.NBD.QemuNBD, Image: d.Image, Export: d.ExportName, Description: d.Unit,
		IO: p.mode, Shared: cfg.NBD.Shared, RateLimit: p.backup.RateLimit,
	}.Args()
	if err != nil {
		return units.Spec{}, err
	}
	return units.Spec{
		Name:          d.Unit,
		Description:   fmt.Sprintf("NBD export %s of backup %s", d.ExportName, p.backup.ID),
		Argv:          argv,
		ListenAddress: r.agent.address(d.Port),
		User:          cfg.Agent.ExporterUser,
		Group:         cfg.Agent.ExporterGroup,
		HiddenDirs:    []string{p.repo.Path},
		WritableDirs:  []string{p.backup.Directory},
		ReadOnlyDirs:  p.ancestors,
		StartTimeout:  cfg.NBD.StartTimeout.Std(),
		StopTimeout:   cfg.NBD.StopTimeout.Std(),
	}, nil
}

// address is where an export listens.
func (a *Agent) address(port uint16) string {
	return net.JoinHostPort(a.config.NBD.Host, strconv.Itoa(int(port)))
}

// diskError makes an error about one disk, with its unit and the unit's last journal lines where there are any.
func (r *run) diskError(reason Reason, d backup.DiskRun, err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	if isNoSpace(err) {
		reason = NoSpace
	}
	e := errorf(reason, "backup %s: disk %d: %w", r.id, d.DiskID, err)
	e.BackupID, e.DiskID, e.Unit = r.id, new(d.DiskID), d.Unit+".service"
	var start *units.StartError
	if errors.As(err, &start) {
		e.Journal = start.Journal
	}
	if reason == ImageFailed {
		e.Unit = ""
	}
	return e
}
