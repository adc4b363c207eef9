// Package probe puts a timeout on a query that may hang, such as statfs on a dead NFS server. It retries nothing.
package probe

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
)

// Timeout limits one query. It leaves a scrape well below Prometheus' usual ten seconds.
const Timeout = 3 * time.Second

// Do runs f and waits for it, but no longer than Timeout. Callers with the same name share one run of f, so many callers cost no more
// than one. If f hangs forever (statfs on a dead NFS server cannot be interrupted), it holds one goroutine, however often Do is called. f
// continues when its caller leaves, so it must not use anything of the caller.
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
