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

// ImageSpec says what image a disk gets. Large clusters make a full copy fast; on an overlay they would copy 1 MiB from
// the backing image for every 64 KiB that changed. An overlay is as large as the disk is now, whatever its parent is.
func ImageSpec(d record.DiskRun) qemu.ImageSpec {
	spec := qemu.ImageSpec{Path: d.Image, SizeBytes: d.CapacityBytes, BackingFile: d.Backing}
	if d.Backing == "" {
		spec.ClusterBytes, spec.ExtendedL2 = qemu.FullClusterBytes, true
	}
	return spec
}

// StartOnFreePort starts the pair of units that spec describes. A port that another process holds is noted, and next leases
// another one in its place.
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
			return u, err // the lease names what is left, so it must stay
		}
		if err := next(); err != nil {
			return u, err
		}
	}
	return units.Unit{}, ErrForeignPorts
}

// Probe looks that what a port serves is the export of that unit, as large as it must be.
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

// Unchanged leaves a record to the options of its change.
func Unchanged[T any](*T) error { return nil }

// Address is where an export listens.
func (m *Manager) Address(port uint16) string {
	return net.JoinHostPort(m.Config.NBD.Host, strconv.Itoa(int(port)))
}
