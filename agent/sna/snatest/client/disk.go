package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// diskRun is the copy of one disk within a run.
type diskRun struct {
	*Client
	position int
	disk     vcenter.SnapshotDisk
	export   string // "" until the target is known
	address  string
	handle   *handle // which SBC closes after the disk
}

// copyDisk follows SyncToTarget of SBC: decide, connect, copy, report, disconnect.
func (r *Client) copyDisk(ctx context.Context, position int) error {
	d := &diskRun{Client: r, position: position, disk: r.snapshot.Disks[position]}
	r.phase(fmt.Sprintf("disk %d", position))
	if d.disk.NoChangeID {
		return fmt.Errorf("CBT is not enabled on disk %d", d.disk.Key)
	}
	full := d.needsFullCopy(ctx)
	if err := r.pass(ctx, fmt.Sprintf("disk/%d", position)); err != nil {
		return err
	}
	if err := d.findTarget(); err != nil {
		return err
	}
	var err error
	if d.handle, err = d.connect(ctx); err != nil {
		return err
	}
	defer func() { d.close(d.handle) }()
	r.handlesSignals(true)
	if err := d.copyData(ctx, full); err != nil {
		return err
	}
	if err := d.report(ctx); err != nil {
		return err
	}
	last := position == len(r.snapshot.Disks)-1
	if err := r.linger(ctx, last); err != nil {
		return err
	}
	return r.pass(ctx, fmt.Sprintf("disconnect/%d", position))
}

// findTarget finds the target by the decimal disk key. A disk without a target ends
// the run, even after other disks were copied.
func (d *diskRun) findTarget() error {
	target, found := d.targets[strconv.Itoa(d.disk.Key)]
	if !found {
		return fmt.Errorf("failed to determine NBD export for disk: no NBD target found for VMware disk key %d (disk disk-%d)", d.disk.Key, d.disk.Key)
	}
	d.export = target.Export
	d.address = net.JoinHostPort(target.Host, target.Port)
	d.updateDisk(d.position, func(s *DiskState) { s.Export = d.export })
	return nil
}

// copyData copies the disk or its changes. It computes the digests first, because the
// SHA gets the change id of this snapshot as soon as the disk is copied.
func (d *diskRun) copyData(ctx context.Context, full bool) error {
	now, err := d.host.VCenter.Track(ctx, d.disk)
	if err != nil {
		return fmt.Errorf("read disk: %w", err)
	}
	if full {
		return d.copyWhole(ctx)
	}
	return d.copyChanges(ctx, now)
}

// copyWhole follows ParallelFullCopyToTarget: a second handle for three workers,
// each with a third of the disk, while the first one is idle.
func (d *diskRun) copyWhole(ctx context.Context) error {
	d.updateDisk(d.position, func(s *DiskState) { s.Mode = "full" })
	d.tellSNA(Progress{Stage: "Transfer", Status: "in_progress", SyncType: "initial"})
	target, err := d.connect(ctx, "base:allocation")
	if err != nil {
		return fmt.Errorf("failed to connect to target: %w", err)
	}
	defer d.close(target)
	var shares [][]vcenter.Extent
	for _, part := range divide(d.disk.CapacityBytes, fullWorkers) {
		shares = append(shares, chunks(part, d.requestLimit()))
	}
	return d.work(ctx, copyJob{
		// Here SBC counts whole GiB of all files of all disks of the VM.
		total: d.snapshot.FileBytes &^ (1<<30 - 1), shares: shares, stopAtError: true,
		copy: func(c chunkCopy) error { return c.copyChunk() },
	}, target)
}

// copyChanges follows ParallelIncrementalCopyToTarget. Its second Connect
// overwrites the first handle, which stays open until it is collected.
func (d *diskRun) copyChanges(ctx context.Context, now vcenter.Generation) error {
	d.updateDisk(d.position, func(s *DiskState) { s.Mode = "incremental" })
	d.tellSNA(Progress{Stage: "Transfer", Status: "in_progress", SyncType: "incremental"})
	// Asked again, now with the export name.
	since, err := d.askChangeID(ctx)
	if err != nil {
		d.log.Warn("failed to read change id", "error", err)
		since = ""
	}
	if _, valid := vcenter.ParseChangeID(since); since != "" && !valid {
		return errors.New("invalid change ID")
	}
	changed, err := d.host.VCenter.Changed(since, d.disk, now)
	if err != nil {
		return fmt.Errorf("failed to query changed disk areas: %w", err)
	}
	if len(changed) == 0 {
		d.tellSNA(Progress{Stage: "Transfer", Status: "completed", Percent: 100})
		return nil
	}
	extents := coalesce(changed, maxGap, MaxRequestBytes)
	total := int64(0)
	for _, one := range extents {
		total += one.Length
	}
	first := d.handle
	if d.handle, err = d.connect(ctx); err != nil {
		d.handle = first
		return fmt.Errorf("failed to connect to target: target connect failed: %w", err)
	}
	d.lose(first)
	defer d.close(d.handle)
	return d.work(ctx, copyJob{
		total: total, shares: deal(extents, incrementalWorkers(len(extents))),
		copy: func(c chunkCopy) error { return c.copyExtent(d.requestLimit()) },
	}, d.handle)
}

// requestLimit keeps requests short if the copy is limited, so that the limit holds
// within a tenth of a second.
func (d *diskRun) requestLimit() int64 {
	limit := d.host.RequestBytes
	if d.faults.BytesPerSec > 0 {
		limit = min(limit, max(d.faults.BytesPerSec/10&^511, 4096))
	}
	return limit
}
