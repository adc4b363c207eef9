package probe

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/singleflight"
)

// TestProbeThatHangs: only one goroutine waits, however many callers ask and however often. Every caller gets its answer in time.
func TestProbeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flights singleflight.Group
		var begun atomic.Int32
		release := make(chan struct{})
		ask := func() (string, error) {
			return Do(t.Context(), &flights, "nas", func(context.Context) (string, error) {
				begun.Add(1)
				<-release // ignores its context, as statfs does
				return "back", nil
			})
		}
		for range 3 {
			var wait sync.WaitGroup
			for range 5 {
				wait.Go(func() {
					start := time.Now()
					if _, err := ask(); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != Timeout {
						t.Errorf("%v after %s", err, time.Since(start))
					}
				})
			}
			wait.Wait()
		}
		if n := begun.Load(); n != 1 {
			t.Errorf("%d look at what hangs, want one", n)
		}
		close(release)
		synctest.Wait()
		if got, err := ask(); err != nil || got != "back" || begun.Load() != 2 {
			t.Errorf("after it came back: %q %v, %d looks", got, err, begun.Load())
		}
	})
}

// TestProbeOutlivesCaller: when a caller leaves, the others still get the answer.
func TestProbeOutlivesCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flights singleflight.Group
		slow := func(ctx context.Context) (int, error) {
			select {
			case <-time.After(time.Second):
				return 7, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := Do(ctx, &flights, "x", slow); !errors.Is(err, context.Canceled) {
				t.Errorf("the one who left: %v", err)
			}
		})
		synctest.Wait()
		wait.Go(func() {
			if n, err := Do(t.Context(), &flights, "x", slow); n != 7 || err != nil {
				t.Errorf("the one who stayed: %d %v", n, err)
			}
		})
		synctest.Wait()
		leave()
		wait.Wait()
	})
}
