package snatest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/sendense/backup-agent/nbd"
)

// diskRun is the copy of one disk within a run.
type diskRun struct {
	*run
	position int
	disk     snapshotDisk
	export   string // "" until the target is known
	address  string
	conns    []*nbd.Conn
}

// copyDisk follows SyncToTarget of SBC: decide, connect, copy, report, disconnect.
func (r *run) copyDisk(ctx context.Context, position int) error {
	d := &diskRun{run: r, position: position, disk: r.snapshot.disks[position]}
	r.phase(fmt.Sprintf("disk %d", position))
	full := d.needsFullCopy(ctx)
	if err := r.pass(ctx, fmt.Sprintf("disk/%d", position)); err != nil {
		return err
	}
	defer d.disconnect()
	// Requests that nobody answers would keep their goroutines for ever.
	defer context.AfterFunc(ctx, d.interrupt)()

	if err := d.findTarget(); err != nil {
		return err
	}
	if err := d.connect(ctx, 1); err != nil {
		return err
	}
	if err := d.copyData(ctx, full); err != nil {
		return err
	}
	if err := d.report(ctx); err != nil {
		return err
	}
	last := position == len(r.snapshot.disks)-1
	if err := r.linger(ctx, last); err != nil {
		return err
	}
	return r.pass(ctx, fmt.Sprintf("disconnect/%d", position))
}

// findTarget looks the disk up by its decimal key. A disk without a target ends
// the run, in the midst of it.
func (d *diskRun) findTarget() error {
	target, found := d.targets[strconv.Itoa(d.disk.Key)]
	if !found {
		return fmt.Errorf("no NBD target found for VMware disk key %d (disk disk-%d)", d.disk.Key, d.disk.Key)
	}
	d.export = target.Export
	d.address = net.JoinHostPort(target.Host, target.Port)
	d.updateDisk(d.position, func(s *DiskState) { s.Export = d.export })
	return nil
}

// connect opens connections until there are n. SBC waits without a limit, and so
// for ever on a server that admits only one client.
func (d *diskRun) connect(ctx context.Context, n int) error {
	for len(d.conns) < n {
		conn, err := nbd.Dial(ctx, d.address, d.export)
		if err != nil {
			return fmt.Errorf("connect to nbd://%s/%s: %w", d.address, d.export, err)
		}
		d.server.mu.Lock()
		d.conns = append(d.conns, conn)
		d.server.mu.Unlock()
		d.update(func(s *RunState) {
			s.Connections++
			s.OpenConnections++
			s.Disks[d.position].Connections++
		})
		if ctx.Err() != nil {
			return context.Cause(ctx) // interrupt may not have seen this connection
		}
	}
	return nil
}

// closeFrom closes all connections but the first keep, and counts them.
func (d *diskRun) closeFrom(keep int) {
	d.server.mu.Lock()
	open := d.conns
	d.conns = slices.Clone(open[:min(keep, len(open))])
	d.server.mu.Unlock()
	for _, conn := range open[min(keep, len(open)):] {
		abandon(conn)
		d.update(func(s *RunState) { s.OpenConnections-- })
	}
}

func (d *diskRun) disconnect() { d.closeFrom(0) }

// interrupt closes the connections under their users.
func (d *diskRun) interrupt() {
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	for _, conn := range d.conns {
		abandon(conn)
	}
}

// copyData writes the disk or its changes, then closes all connections but the
// first: the data connections end before the report, the first one after it.
func (d *diskRun) copyData(ctx context.Context, full bool) error {
	wanted, err := d.wanted(ctx, full)
	if err != nil || len(wanted) == 0 {
		return err
	}
	data, err := dataExtents(d.disk.file, d.disk.CapacityBytes)
	if err != nil {
		return err
	}
	requests := plan(wanted, data, d.requestLimit())
	if err := d.connect(ctx, d.server.options.Connections); err != nil {
		return err
	}
	defer d.closeFrom(1)
	return d.copyRequests(ctx, requests)
}

// wanted are the parts to copy. The digests come first, since the change id of
// this snapshot is given to the SHA as soon as the disk is copied.
func (d *diskRun) wanted(ctx context.Context, full bool) ([]extent, error) {
	now := generation{}
	if !d.server.options.NoChangeTracking {
		var err error
		if now, err = digests(ctx, d.disk.file, d.disk.CapacityBytes); err != nil {
			return nil, fmt.Errorf("read disk: %w", err)
		}
		d.server.changes.remember(d.disk.changeID, now)
	}
	if full {
		d.updateDisk(d.position, func(s *DiskState) { s.Mode = "full" })
		return []extent{{0, d.disk.CapacityBytes}}, nil
	}
	d.updateDisk(d.position, func(s *DiskState) { s.Mode = "incremental" })
	// Asked once more, and by now the export name is known.
	since, err := d.askChangeID(ctx)
	if err != nil {
		d.log.Warn("failed to read change id", "error", err)
	}
	return d.server.changes.since(since, now, d.disk.CapacityBytes)
}

// requestLimit keeps requests short where the copy is slow, so that the limit is
// kept within a tenth of a second.
func (d *diskRun) requestLimit() int64 {
	limit := d.server.options.RequestBytes
	if d.faults.BytesPerSec > 0 {
		limit = min(limit, max(d.faults.BytesPerSec/10&^511, 4096))
	}
	return limit
}
