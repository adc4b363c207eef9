package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// endExporter ends the exporter of a disk so that nothing it was given is lost, and records how it ended.
//
// SBC never flushes, so qemu-nbd still holds back metadata that the data cannot be found without. It writes that when it
// ends, and exits with status 0 even when the disk refuses it: the image is then sound and lacks what was copied. So a
// flush of our own comes first, whose answer tells. And because nobody may write after it, the exporter's counter of
// received bytes is compared from before its end to after it.
func (f *finisher) endExporter(ctx context.Context, d record.DiskRun) (record.DiskRun, error) {
	limit := f.agent.config.NBD.StopTimeout.Std()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not everything is written within %s (nbd.stop_timeout)", limit))
	defer cancel()
	if !d.Flushed {
		if err := f.flush(ctx, d); err != nil {
			return d, err
		}
	}
	before, err := f.quiet(ctx, d)
	if err != nil {
		return d, err
	}
	failpoint.Reach("before terminate")
	u, err := f.agent.units.Terminate(ctx, d.Unit)
	failpoint.Reach("terminated")
	switch {
	case errors.Is(err, units.ErrNotFound):
		f.agent.metrics.exporterCrashed(resultGone)
		return d, f.agent.exporterGone(f.ctx, f.id, d, "its unit is gone and nothing tells how it ended")
	case err != nil:
		return d, diskError(f.ctx, f.id, ExporterFailed, d, errors.Join(err, context.Cause(ctx)))
	case u.InvocationID != d.InvocationID:
		f.agent.metrics.exporterCrashed(resultGone)
		return d, f.agent.exporterGone(f.ctx, f.id, d, "its unit is another one by now")
	case before.Running() && u.Accounted && u.ReceivedBytes != before.ReceivedBytes:
		return d, f.agent.exporterGone(f.ctx, f.id, d, "a client connected to it while it ended, so what the image holds is unknown")
	}
	return f.recordEnd(d, u)
}

func (f *finisher) recordEnd(d record.DiskRun, u units.Unit) (record.DiskRun, error) {
	err := f.untilRecorded(func() error {
		b, err := f.agent.change(f.id, func(b *record.Backup) error {
			run := b.Run(d.DiskID)
			run.Result, run.ExitStatus, run.ReceivedBytes = resultOf(u), u.ExecMainStatus, u.ReceivedBytes
			return nil
		})
		if err == nil {
			d = *b.Run(d.DiskID)
			f.agent.metrics.exporterEnded(d.Result)
		}
		return err
	})
	return d, err
}

// flush has the exporter bring all it was given to the disk, and records that it did.
func (f *finisher) flush(ctx context.Context, d record.DiskRun) error {
	u, err := f.agent.units.Get(ctx, d.Unit)
	if errors.Is(err, units.ErrNotFound) {
		f.agent.metrics.exporterCrashed(resultGone)
		return f.agent.exporterGone(f.ctx, f.id, d, "its unit is gone and nothing tells how it ended")
	}
	if err != nil {
		return diskError(f.ctx, f.id, ExporterFailed, d, err)
	}
	if !u.Running() {
		f.agent.metrics.exporterCrashed(resultOf(u))
		return f.agent.exporterGone(f.ctx, f.id, d, "it ended before what was written was known to be on the disk: "+resultOf(u))
	}
	failpoint.Reach("before flush")
	if err := flushExport(ctx, f.agent.address(d.Port), d.ExportName); err != nil {
		e := diskError(f.ctx, f.id, ExporterFailed, d, fmt.Errorf("what was written to %s cannot be brought to the disk: %w", d.ExportName, err))
		return e
	}
	failpoint.Reach("flushed")
	return f.untilRecorded(func() error {
		_, err := f.agent.change(f.id, func(b *record.Backup) error {
			b.Run(d.DiskID).Flushed = true
			return nil
		})
		return err
	})
}

func flushExport(ctx context.Context, address, export string) error {
	c, err := nbd.Dial(ctx, address, export)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) }) // the flush fails then, and says why
	defer stop()
	if err := c.Flush(); err != nil {
		return err
	}
	return c.Disconnect()
}

// quiet gives the unit as it is when nobody is connected to it any more. A client that is there then is somebody else, and to
// stop the exporter would be to stop it by force.
func (f *finisher) quiet(ctx context.Context, d record.DiskRun) (units.Unit, error) {
	for deadline := time.Now().Add(busTimeout); ; {
		n, err := sockets.Established(d.Port)
		if err != nil {
			return units.Unit{}, diskError(f.ctx, f.id, Internal, d, err)
		}
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			return units.Unit{}, f.agent.exporterGone(f.ctx, f.id, d, fmt.Sprintf("%d clients are connected to it when it is to end, so what the image holds is unknown", n))
		}
		if !pause(ctx, 2*time.Millisecond) {
			return units.Unit{}, diskError(f.ctx, f.id, ExporterFailed, d, context.Cause(ctx))
		}
	}
	u, err := f.agent.units.Get(ctx, d.Unit)
	if err != nil {
		return u, diskError(f.ctx, f.id, ExporterFailed, d, err)
	}
	return u, nil
}
