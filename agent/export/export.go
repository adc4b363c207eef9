package export

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
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

// StartOnFreePort starts the pair of units that spec returns. If another process holds the port, it calls next, which leases another
// port, and tries again. After maxForeignPorts tries it returns ErrForeignPorts.
func (m *Manager) StartOnFreePort(ctx context.Context, spec func() (pair.Spec, error), next func() error) (units.Unit, error) {
	for range maxForeignPorts {
		s, err := spec()
		if err != nil {
			return units.Unit{}, err
		}
		failpoint.Reach("before exporter")
		u, err := m.Units.Start(ctx, s)
		if err == nil || !errors.Is(err, units.ErrAddressInUse) {
			return u, err
		}
		var start *units.StartError
		if errors.As(err, &start) && start.Cleanup != nil {
			return u, err // the lease names the leftover unit, so it must stay
		}
		if err := next(); err != nil {
			return u, err
		}
	}
	return units.Unit{}, ErrForeignPorts
}

// Probe checks that a port serves the export of that unit, and that the export has size bytes. It waits for nbd.start_timeout at most.
func (m *Manager) Probe(ctx context.Context, port uint16, exportName, unit string, size int64) (nbd.ExportInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Config.NBD.StartTimeout.Std())
	defer cancel()
	info, err := nbd.Probe(ctx, m.Address(port), exportName)
	switch {
	case err != nil:
		return info, err
	case info.Description != unit:
		return info, fmt.Errorf("port %d is served by %q, not by this exporter", port, info.Description)
	case info.SizeBytes != uint64(size):
		return info, fmt.Errorf("export %s serves %d bytes, the disk has %d", exportName, info.SizeBytes, size)
	}
	return info, nil
}

// Address returns host and port where an export listens.
func (m *Manager) Address(port uint16) string {
	return net.JoinHostPort(m.Config.NBD.Host, strconv.Itoa(int(port)))
}
