package digest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// chunkBytes is how much is read at a time. Two chunks are in memory: one is read, one is hashed.
const chunkBytes = 4 << 20

// Options of a read. The zero value reads as fast as the disk allows.
type Options struct {
	Limit *rate.Limiter // of bytes read, without holes; reads may share it. See Limit
	// Progress is called for every piece of the file, with its size and how much of that was read: nothing of a hole.
	Progress func(bytes, read int64)
}

// Limit makes a limiter of bytes a second for any number of reads together; nil, which is no limit, for 0.
func Limit(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), chunkBytes)
}

// ErrChanged says that a file changed while it was read, so that it has no digest.
var ErrChanged = errors.New("changed while it was read")

// OfFile reads a regular file that is open for reading, and returns its digest. Where the file system can do that, it reads from the
// disk and not from the page cache: the digest is to prove what is on the disk.
func OfFile(ctx context.Context, f *os.File, o Options) (Digest, error) {
	before, err := f.Stat()
	if err != nil {
		return Digest{}, err
	}
	if !before.Mode().IsRegular() {
		return Digest{}, fmt.Errorf("%s: is not a regular file, so it has no digest", f.Name())
	}
	r := newReader(f, before.Size(), o)
	d, err := r.digest(ctx)
	if err != nil {
		return Digest{}, err
	}
	after, err := f.Stat()
	if err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
		err = fmt.Errorf("%s: %w", f.Name(), ErrChanged)
	}
	return d, err
}

// A piece is some bytes of the file, or a hole.
type piece struct {
	buffer []byte // nil for a hole
	bytes  int64
}

// read is how much of the piece was read.
func (p piece) read() int64 {
	if p.buffer == nil {
		return 0
	}
	return p.bytes
}

// digest reads in one goroutine and hashes in another.
func (r *reader) digest(ctx context.Context) (Digest, error) {
	pieces, buffers := make(chan piece), make(chan []byte, 2)
	buffers <- aligned(chunkBytes)
	buffers <- aligned(chunkBytes)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(pieces)
		return r.read(ctx, buffers, pieces)
	})
	h, zeroes := newHash(), make([]byte, 64<<10)
	group.Go(func() error {
		for p := range pieces {
			if p.buffer != nil {
				_, _ = h.Write(p.buffer[:p.bytes])
				buffers <- p.buffer
			}
			for left := p.bytes; p.buffer == nil && left > 0; {
				n := min(left, int64(len(zeroes)))
				_, _ = h.Write(zeroes[:n])
				left -= n
			}
			if r.Progress != nil {
				r.Progress(p.bytes, p.read())
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return Digest{}, err
	}
	return made(h, r.size), nil
}

// read sends the file, piece by piece, in order.
func (r *reader) read(ctx context.Context, buffers <-chan []byte, pieces chan<- piece) error {
	for at := int64(0); at < r.size; {
		start, end, err := r.nextData(at)
		if err != nil {
			return err
		}
		for hole := min(start, r.size); at < hole; {
			n := min(hole-at, 1<<30) // so that ctx can end it
			if err := pass(ctx, pieces, piece{bytes: n}); err != nil {
				return err
			}
			at += n
		}
		for at < end {
			p, err := r.chunk(ctx, <-buffers, at, end)
			if err != nil {
				return err
			}
			if err := pass(ctx, pieces, p); err != nil {
				return err
			}
			at += p.bytes
		}
	}
	return nil
}

func pass(ctx context.Context, pieces chan<- piece, p piece) error {
	select {
	case pieces <- p:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// chunk reads from an offset up to end, or as much as fits.
func (r *reader) chunk(ctx context.Context, buffer []byte, at, end int64) (piece, error) {
	if err := ctx.Err(); err != nil {
		return piece{}, context.Cause(ctx)
	}
	want := min(end-at, int64(len(buffer)))
	if r.Limit != nil {
		if err := r.Limit.WaitN(ctx, int(want)); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return piece{}, err
		}
	}
	err := r.readAt(buffer, want, at)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s: %w", r.f.Name(), ErrChanged)
	}
	return piece{buffer, want}, err
}
