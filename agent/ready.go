package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/probe"
)

// Ready says why the agent cannot back up now: it stops, the database does not answer or cannot be written, or systemd cannot be
// spoken to. It returns within a few seconds, whatever hangs.
func (a *Agent) Ready(ctx context.Context) error {
	if a.jobs.IsClosed() {
		return job.ErrStopping
	}
	if _, err := probe.Do(ctx, &a.Records.Probes, "database", func(context.Context) (any, error) {
		return a.store.Counts(time.Now())
	}); err != nil {
		return fmt.Errorf("the database cannot be read: %w", err)
	}
	if err := a.Records.Writable(ctx); err != nil {
		return fmt.Errorf("the database cannot be written: %w", err)
	}
	if _, err := probe.Do(ctx, &a.Records.Probes, "service manager", func(ctx context.Context) (any, error) {
		return a.units.List(ctx, export.UnitPrefix+"none-") // no unit of ours is called so: the manager is asked once, and for nothing
	}); err != nil {
		return fmt.Errorf("the service manager does not answer: %w", err)
	}
	return nil
}
