package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// MaxRequestBytes is the largest request that SBC sends.
const MaxRequestBytes = 32 << 20

const (
	tries         = 4       // of a piece, in total
	sampledBytes  = 4 << 20 // pieces of this length and more are sampled
	sampleBytes   = 8 << 10 // at each of five spots
	FirstRetryGap = time.Second
)

// copyJob is the copy of one disk, for the workers.
type copyJob struct {
	total  int64              // as SBC reports it
	shares [][]vcenter.Extent // by worker
	// stopAtError: a worker of a full copy ends after its first error, the others
	// continue. A worker of an incremental copy takes the next extent.
	stopAtError bool
	copy        func(chunkCopy) error
}

// work runs the workers over one shared handle. Half way through it stops at the
// point copy/N.
func (d *diskRun) work(ctx context.Context, j copyJob, target *handle) error {
	progress := d.startProgress(ctx, j.total)
	defer progress.stop()

	point := fmt.Sprintf("copy/%d", d.position)
	dies := slices.Contains(d.faults.DieInDisks, d.position)
	if dies || d.host.Points.Gate(point) != nil {
		j.shares = bisect(j.shares)
	}
	first, second := halves(j.shares)
	limit := &limiter{bytesPerSecond: d.faults.BytesPerSec}
	failed := make([]error, len(j.shares))
	phase := func(shares [][]vcenter.Extent) {
		var workers sync.WaitGroup
		for i, share := range shares {
			if j.stopAtError && failed[i] != nil {
				continue
			}
			workers.Go(func() { failed[i] = errors.Join(failed[i], d.worker(ctx, j, share, target, limit, progress)) })
		}
		workers.Wait()
	}
	phase(first)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if dies {
		return d.die()
	}
	if err := d.pass(ctx, point); err != nil {
		return err
	}
	phase(second)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	progress.finish(ctx)
	return nil
}

func (d *diskRun) worker(ctx context.Context, j copyJob, share []vcenter.Extent, target *handle, limit *limiter, progress *progressAggregator) error {
	var failed error
	for _, piece := range share {
		err := d.retry(ctx, piece, limit, func() error { return j.copy(chunkCopy{d, target, piece}) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			progress.copied.Add(piece.Length)
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("write at %d: failed after %d attempts: %w", piece.Offset, tries, err))
		if j.stopAtError {
			break
		}
	}
	return failed
}

// retry tries four times, on the same connection, because SBC never reconnects.
// Every try reads the source again.
func (d *diskRun) retry(ctx context.Context, piece vcenter.Extent, limit *limiter, try func() error) error {
	delay := d.host.RetryDelay
	for n := 1; ; n++ {
		if err := limit.wait(ctx, piece.Length); err != nil {
			return err
		}
		err := try()
		if err == nil || ctx.Err() != nil || n == tries {
			return err
		}
		d.updateDisk(d.position, func(s *DiskState) { s.Retries++ })
		if err := sleep(ctx, max(delay, 0)<<(n-1)); err != nil {
			return err
		}
	}
}

// chunkCopy is one try at one piece. There is no FLUSH after it and no FUA on it.
type chunkCopy struct {
	*diskRun
	target *handle
	vcenter.Extent
}

// copyChunk is copyChunk of SBC's full copy: a large chunk with five zero samples
// is not read. It is written as zeroes, whatever is between the samples. It is
// only read if the target refuses WRITE_ZEROES.
func (c chunkCopy) copyChunk() error {
	var data []byte
	zero := c.Length >= sampledBytes && !c.host.NoSampling && c.samplesAreZero()
	if !zero {
		var err error
		if data, err = c.read(c.Extent); err != nil {
			return err
		}
		zero = vcenter.IsZero(data) && (c.Length < sampledBytes || c.host.NoSampling)
	}
	if zero && c.writeZeroes(c.Extent) {
		return nil
	}
	if data == nil {
		var err error
		if data, err = c.read(c.Extent); err != nil {
			return err
		}
	}
	return c.write(data, c.Offset)
}

// samplesAreZero reads the start, the quarters and the end. A sample that cannot be
// read counts as data.
func (c chunkCopy) samplesAreZero() bool {
	for _, at := range []int64{0, c.Length / 4, c.Length / 2, c.Length * 3 / 4, c.Length - sampleBytes} {
		sample, err := c.read(vcenter.Extent{Offset: c.Offset + at, Length: sampleBytes})
		if err != nil || !vcenter.IsZero(sample) {
			return false
		}
	}
	return true
}

// copyExtent is copyExtent of SBC's incremental copy: it samples nothing, and reads
// every piece.
func (c chunkCopy) copyExtent(limit int64) error {
	for _, piece := range chunks(c.Extent, limit) {
		data, err := c.read(piece)
		if err != nil {
			return err
		}
		if vcenter.IsZero(data) && c.writeZeroes(piece) {
			continue
		}
		if err := c.write(data, piece.Offset); err != nil {
			return err
		}
	}
	return nil
}

func (c chunkCopy) read(part vcenter.Extent) ([]byte, error) {
	data := make([]byte, part.Length)
	c.allocate(part.Length)
	c.updateDisk(c.position, func(s *DiskState) { s.SourceBytes += part.Length })
	if err := vcenter.ReadAt(c.disk.File, data, part.Offset); err != nil {
		return nil, fmt.Errorf("source read failed: %w", err)
	}
	return data, nil
}

// writeZeroes says whether the target accepted it. A refusal is no error for SBC.
func (c chunkCopy) writeZeroes(part vcenter.Extent) bool {
	err := c.target.zero(part.Offset, part.Length)
	c.updateDisk(c.position, func(s *DiskState) {
		if err != nil {
			s.ZeroesRefused++
		} else {
			s.BytesZeroed += part.Length
		}
	})
	return err == nil
}

func (c chunkCopy) write(data []byte, offset int64) error {
	if err := c.target.write(data, offset); err != nil {
		return fmt.Errorf("target write failed: %w", err)
	}
	c.updateDisk(c.position, func(s *DiskState) { s.BytesWritten += int64(len(data)) })
	return nil
}

// limiter spreads requests over time.
type limiter struct {
	bytesPerSecond int64 // 0 for no limit
	mu             sync.Mutex
	next           time.Time // when the next request may begin
}

func (l *limiter) wait(ctx context.Context, length int64) error {
	if l.bytesPerSecond <= 0 {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	wait := l.next.Sub(now)
	l.next = l.next.Add(time.Duration(float64(length) / float64(l.bytesPerSecond) * float64(time.Second)))
	l.mu.Unlock()
	return sleep(ctx, wait)
}
