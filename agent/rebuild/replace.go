package rebuild

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// Replace makes a database of what the repositories have and replaces the one at path, which is damaged or missing. The damaged
// file is kept under the returned name; "" if there was none. The VMs cool down for the given time, and the agent is told to
// look for exporters of lost backups. Chains that are not usable stay out until the daemon imports them; nil: all are usable.
func Replace(ctx context.Context, path string, repositories []*storage.Repository, cooldown time.Duration, usable Usable) (report *Report, aside string, err error) {
	aside, err = store.Replace(path, func(db *store.Store) error {
		b := newBuilder(ctx, db)
		b.usable = usable
		if report, err = update(b, repositories); err != nil {
			return err
		}
		return db.MarkRebuilt(time.Now().Add(cooldown))
	})
	if err != nil {
		return nil, "", err
	}
	return report, aside, nil
}
