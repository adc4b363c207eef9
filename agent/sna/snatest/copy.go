package snatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/nbd"
	"golang.org/x/sync/errgroup"
)

// copyRequests sends the requests over all connections but the first, one
// outstanding on each. Half way through it stops at the point copy/N.
func (d *diskRun) copyRequests(ctx context.Context, requests []request) error {
	total := int64(0)
	for _, one := range requests {
		total += one.length
	}
	stop := d.startTelemetry(ctx, total)
	defer stop()

	limit := &limiter{bytesPerSecond: d.faults.BytesPerSec}
	first, second := halves(requests)
	if err := d.send(ctx, first, limit); err != nil {
		return err
	}
	if slices.Contains(d.faults.DieInDisks, d.position) {
		return d.die()
	}
	if err := d.pass(ctx, fmt.Sprintf("copy/%d", d.position)); err != nil {
		return err
	}
	return d.send(ctx, second, limit)
}

func (d *diskRun) send(ctx context.Context, requests []request, limit *limiter) error {
	workers, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for _, conn := range d.conns[1:] {
		workers.Go(func() error {
			var buffer []byte
			for {
				i := next.Add(1) - 1
				if i >= int64(len(requests)) {
					return nil
				}
				if err := limit.wait(ctx, requests[i].length); err != nil {
					return err
				}
				if err := d.sendOne(ctx, conn, requests[i], &buffer); err != nil {
					return fmt.Errorf("write at %d: %w", requests[i].offset, err)
				}
			}
		})
	}
	return workers.Wait()
}

// sendOne sends one request, again if it fails: three times, over the same
// connection, since SBC never connects anew.
func (d *diskRun) sendOne(ctx context.Context, conn *nbd.Conn, one request, buffer *[]byte) error {
	const retries = 3
	delay := d.server.options.RetryDelay
	for attempt := 0; ; attempt++ {
		zero, err := d.transfer(conn, one, buffer)
		if err == nil {
			d.updateDisk(d.position, func(s *DiskState) {
				if zero {
					s.BytesZeroed += one.length
				} else {
					s.BytesWritten += one.length
				}
			})
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if attempt == retries || delay == 0 {
			return err
		}
		if err := sleep(ctx, delay<<attempt); err != nil {
			return err
		}
	}
}

// transfer writes data, or zeroes where the source has a hole or nothing but
// zeroes. There is no FLUSH after it and no FUA on it.
func (d *diskRun) transfer(conn *nbd.Conn, one request, buffer *[]byte) (zero bool, err error) {
	if one.hole && conn.WriteZeroes(one.offset, one.length) == nil {
		return true, nil
	}
	if int64(cap(*buffer)) < one.length {
		*buffer = make([]byte, one.length)
	}
	data := (*buffer)[:one.length]
	if err := readAt(d.disk.file, data, one.offset); err != nil {
		return false, fmt.Errorf("read snapshot: %w", err)
	}
	if !one.hole && isZero(data) && conn.WriteZeroes(one.offset, one.length) == nil {
		return true, nil
	}
	// SBC falls back to this as well where write-zeroes failed.
	_, err = conn.WriteAt(data, one.offset)
	return false, err
}

// readAt fills p; beyond the end of the source the disk reads as zeroes.
func readAt(from io.ReaderAt, p []byte, offset int64) error {
	n, err := from.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
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

// abandon closes a connection without NBD_CMD_DISC: SBC closes its libnbd handles
// without shutting them down first, and the end of its process does the same.
// Nobody looks at an error of that.
func abandon(conn *nbd.Conn) { _ = conn.Conn.Close() }
