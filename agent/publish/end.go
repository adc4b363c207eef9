package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// endExporter ends the exporter of a disk without loss of data, and records how it ended.
//
// SBC never flushes, so qemu-nbd still holds back metadata without which the data cannot be found. It writes that metadata when it ends,
// and exits with status 0 even if the write fails: the image is then sound but lacks copied data. So the agent flushes first, and the
// answer shows a failure. No client may write after that, so the exporter's counter of received bytes must be the same before and after
// its end.
func (f *Finisher) endExporter(ctx context.Context, d record.DiskRun) (record.DiskRun, error) {
	limit := f.service.Config.NBD.StopTimeout.Std()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("qemu-nbd did not finish writing within %s (nbd.stop_timeout)", limit))
	defer cancel()
	if !d.Flushed {
		if err := f.flush(ctx, d); err != nil {
			return d, err
		}
	}
	before, err := f.waitIdle(ctx, d)
	if err != nil {
		return d, err
	}
	failpoint.Reach("before terminate")
	u, err := f.service.Units.Terminate(ctx, d.Unit)
	failpoint.Reach("terminated")
	switch {
	case errors.Is(err, units.ErrNotFound):
		f.service.Metrics.ExporterCrashed(record.ResultGone)
		return d, f.service.Exports.Gone(f.Job, d, "its unit is gone, and with it the result")
	case err != nil:
		return d, export.DiskError(f.Job, fault.ExporterFailed, d, errors.Join(err, context.Cause(ctx)))
	case u.InvocationID != d.InvocationID:
		f.service.Metrics.ExporterCrashed(record.ResultGone)
		return d, f.service.Exports.Gone(f.Job, d, "its unit was replaced")
	case before.Running() && u.Accounted && u.ReceivedBytes != before.ReceivedBytes:
		return d, f.service.Exports.Gone(f.Job, d, "a client connected while it ended, so the content of the image is unknown")
	}
	return f.recordEnd(d, u)
}

func (f *Finisher) recordEnd(d record.DiskRun, u units.Unit) (record.DiskRun, error) {
	err := f.UntilRecorded(func() error {
		b, err := f.service.Records.Change(f.ID, func(b *record.Backup) error {
			run := b.Run(d.DiskID)
			run.Result, run.ExitStatus, run.ReceivedBytes = export.ResultOf(u), u.ExecMainStatus, u.ReceivedBytes
			return nil
		})
		if err == nil {
			d = *b.Run(d.DiskID)
			f.service.Metrics.ExporterEnded(d.Result)
		}
		return err
	})
	return d, err
}

// flush makes the exporter write everything it received to the disk, and records that it did.
func (f *Finisher) flush(ctx context.Context, d record.DiskRun) error {
	u, err := f.service.Units.Get(ctx, d.Unit)
	if errors.Is(err, units.ErrNotFound) {
		f.service.Metrics.ExporterCrashed(record.ResultGone)
		return f.service.Exports.Gone(f.Job, d, "its unit is gone, and with it the result")
	}
	if err != nil {
		return export.DiskError(f.Job, fault.ExporterFailed, d, err)
	}
	if !u.Running() {
		f.service.Metrics.ExporterCrashed(export.ResultOf(u))
		return f.service.Exports.Gone(f.Job, d, "it ended before the written data was flushed: "+export.ResultOf(u))
	}
	failpoint.Reach("before flush")
	if err := export.Flush(ctx, f.service.Exports.Address(d.Port), d.ExportName); err != nil {
		e := export.DiskError(f.Job, fault.ExporterFailed, d, fmt.Errorf("data written to %s cannot be flushed: %w", d.ExportName, err))
		return e
	}
	failpoint.Reach("flushed")
	return f.UntilRecorded(func() error {
		_, err := f.service.Records.Change(f.ID, func(b *record.Backup) error {
			b.Run(d.DiskID).Flushed = true
			return nil
		})
		return err
	})
}

// waitIdle waits until no client is connected to an exporter, and returns its unit. A client that stays connected is not the one
// that copied, and to stop the exporter then would need force.
func (f *Finisher) waitIdle(ctx context.Context, d record.DiskRun) (units.Unit, error) {
	for deadline := time.Now().Add(export.BusTimeout); ; {
		n, err := sockets.Established(d.Port)
		if err != nil {
			return units.Unit{}, export.DiskError(f.Job, fault.Internal, d, err)
		}
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			return units.Unit{}, f.service.Exports.Gone(f.Job, d, fmt.Sprintf("%d clients are still connected at its end, so the content of the image is unknown", n))
		}
		if !job.Pause(ctx, 2*time.Millisecond) {
			return units.Unit{}, export.DiskError(f.Job, fault.ExporterFailed, d, context.Cause(ctx))
		}
	}
	u, err := f.service.Units.Get(ctx, d.Unit)
	if err != nil {
		return u, export.DiskError(f.Job, fault.ExporterFailed, d, err)
	}
	return u, nil
}
