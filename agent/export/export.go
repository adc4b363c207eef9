package export

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// ImageSpec returns the image for a disk. Large clusters make a full copy fast. An overlay gets small ones: with large ones QEMU would
// copy 1 MiB from the backing image for every 64 KiB that changed. An overlay is as large as the disk is now, whatever the size of its
// parent.
func ImageSpec(d record.DiskRun) qemu.ImageSpec {
	spec := qemu.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing}
	if d.Backing == "" {
		spec.ClusterBytes, spec.ExtendedL2 = qemu.FullClusterBytes, true
	}
	return spec
}

// Start starts the exporter of a disk of a job's record. e lacks only what is of the disk. If another process holds the port of the disk,
// relet leases another port, and the start is tried again, maxForeignPorts times at most. Start returns the disk with its port.
func Start[D Disk](ctx context.Context, m *Manager, j *job.Job, e Exporter, d D, relet func(D) (D, error)) (D, units.Unit, error) {
	for range maxForeignPorts {
		u, err := m.start(ctx, e, d.Served())
		if err == nil {
			return d, u, nil
		}
		var start *units.StartError
		leftover := errors.As(err, &start) && start.Cleanup != nil // the lease names the leftover unit, so it must stay
		if leftover || !errors.Is(err, units.ErrAddressInUse) {
			return d, u, DiskError(j, fault.ExporterFailed, d, err)
		}
		if d, err = nextPort(m, j, d, relet); err != nil {
			return d, u, DiskError(j, fault.NoFreePort, d, err)
		}
	}
	return d, units.Unit{}, DiskError(j, fault.NoFreePort, d, errForeignPorts)
}

func (m *Manager) start(ctx context.Context, e Exporter, d record.Served) (units.Unit, error) {
	e.Unit, e.Image, e.Export, e.Address, e.SizeBytes = d.Unit, d.Image, d.ExportName, m.Address(d.Port), d.CapacityBytes
	spec, err := e.Spec(m.Config)
	if err != nil {
		return units.Unit{}, err
	}
	failpoint.Reach("before exporter")
	return m.Units.Start(ctx, spec)
}

// nextPort replaces the lease of a disk whose port is held by another process.
func nextPort[D Disk](m *Manager, j *job.Job, d D, relet func(D) (D, error)) (D, error) {
	port := d.Served().Port
	holder := sockets.Listener(port)
	m.Ports.Foreign.Note(port)
	m.Log.Warn("port is held by another process", logkey.Port, port, logkey.Holder, holder, j.LogID(), logkey.Disk, d.Served().DiskID)
	moved, err := relet(d)
	if err != nil {
		return d, fmt.Errorf("port %d is held by another process (%s): %w", port, holder, err)
	}
	return moved, nil
}

// Prove checks that the port of a disk serves its export, that the export has the size of the disk, and that it can be written or not, as
// it should be. It waits for nbd.start_timeout at most.
func (m *Manager) Prove(ctx context.Context, j *job.Job, disk Disk, readOnly bool) error {
	d := disk.Served()
	ctx, cancel := context.WithTimeout(ctx, m.Config.NBD.StartTimeout.Std())
	defer cancel()
	info, err := nbd.Probe(ctx, m.Address(d.Port), d.ExportName)
	switch {
	case err != nil:
	case info.Description != d.Unit:
		err = fmt.Errorf("port %d is served by %q, not by this exporter", d.Port, info.Description)
	case info.SizeBytes != uint64(d.CapacityBytes):
		err = fmt.Errorf("export %s serves %d bytes, the disk has %d", d.ExportName, info.SizeBytes, d.CapacityBytes)
	case info.ReadOnly() != readOnly:
		err = fmt.Errorf("export %s is read-only: %v, want %v", d.ExportName, info.ReadOnly(), readOnly)
	}
	if err != nil {
		return DiskError(j, fault.ExporterFailed, disk, err)
	}
	return nil
}

// Address returns host and port where an export listens.
func (m *Manager) Address(port uint16) string {
	return net.JoinHostPort(m.Config.NBD.Host, strconv.Itoa(int(port)))
}
