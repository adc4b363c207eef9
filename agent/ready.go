package agent

import (
	"context"
	"fmt"
	"time"
)

// Ready says why the agent cannot back up now: it stops, the database does not answer or cannot be written, or systemd cannot be
// spoken to. It returns within a few seconds, whatever hangs.
func (a *Agent) Ready(ctx context.Context) error {
	if a.jobs.isClosed() {
		return errStopping
	}
	if _, err := probe(ctx, &a.probes, "database", func(context.Context) (any, error) {
		return a.store.Counts(time.Now())
	}); err != nil {
		return fmt.Errorf("the database cannot be read: %w", err)
	}
	if err := a.writable(ctx); err != nil {
		return fmt.Errorf("nothing can be put on record: %w", err)
	}
	if _, err := probe(ctx, &a.probes, "service manager", func(ctx context.Context) (any, error) {
		return a.units.List(ctx, unitPrefix+"none-") // no unit of ours is called so: the manager is asked once, and for nothing
	}); err != nil {
		return fmt.Errorf("the service manager cannot be spoken to: %w", err)
	}
	return nil
}

// checkState refuses to begin a backup of which the end could not be put on record: it would be the client's work for nothing while
// the room does not come back, although the first transactions of it may still find pages in the file.
func (a *Agent) checkState(ctx context.Context) error {
	if err := a.writable(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil { // the agent stops: a queued backup waits for the next one
			return cause
		}
		return errorf(Internal, "no backup begins, because nothing can be put on record: %w", err)
	}
	return nil
}

// writable says why no transaction can be written now. However often it is asked, one is written every few seconds at most.
func (a *Agent) writable(ctx context.Context) error {
	_, err := probe(ctx, &a.probes, "state directory "+a.store.Directory(), func(context.Context) (struct{}, error) {
		return struct{}{}, a.store.Writable()
	})
	return err
}
