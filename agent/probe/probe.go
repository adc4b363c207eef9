// Package probe bounds a look at what may hang, such as statfs on a dead NFS server. It retries nothing.
package probe

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
)

// Timeout bounds one look at what may hang. It leaves a scrape well below Prometheus' usual ten seconds.
const Timeout = 3 * time.Second

// Do runs f and waits for it, but no longer than probeTimeout. Who asks for the same name meanwhile gets the same
// answer: many that ask cost no more than one, and what hangs for good (statfs on a dead NFS server cannot be
// interrupted) holds one goroutine, however often it is asked for. f must not need the caller to be there still.
func Do[T any](ctx context.Context, flights *singleflight.Group, name string, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	answer := flights.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Timeout)
		defer cancel()
		return f(ctx)
	})
	var none T
	select {
	case r := <-answer:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, fmt.Errorf("%s does not answer: %w", name, ctx.Err())
	}
}
