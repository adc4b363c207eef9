package catalog

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// maxProblems limits how many problems of an import are named; all are counted.
const maxProblems = 20

// importNew imports the restore points of a repository that the catalog has nothing of, and continues an import that was interrupted or
// waits for a key. In any other case the catalog and the repository contradict each other, and a person decides.
func (w *Watcher) importNew(r *storage.Repository) error {
	due, err := w.Store.Importing(r.ID)
	if err == nil && !due {
		due, err = w.isNew(r.ID)
	}
	if err != nil || !due {
		return err
	}
	w.importing(r.ID, true)
	defer w.importing(r.ID, false)
	report, err := rebuild.Import(storage.UntilStuck(w.Jobs.Work), w.Store, r, w.Repositories.CheckKeys)
	if err != nil {
		return err
	}
	w.imported(r, report)
	return nil
}

// isNew says whether the catalog has no restore point of a repository.
func (w *Watcher) isNew(repository string) (bool, error) {
	groups, err := w.Store.PointGroups()
	return !slices.ContainsFunc(groups, func(g store.PointGroup) bool { return g.Repository == repository }), err
}

func (w *Watcher) importing(repository string, is bool) {
	s := w.States.Of(repository)
	s.Importing = is
	w.States.put(repository, s)
}

// imported keeps, counts and logs the result of an import, unless it found nothing or only what the one before had found.
func (w *Watcher) imported(r *storage.Repository, report *rebuild.Report) {
	now := &record.Import{
		Repository: r.ID, At: time.Now(), Points: len(report.Imported), VMs: len(report.VMs), Problems: len(report.Problems),
	}
	for _, p := range report.Problems[:min(len(report.Problems), maxProblems)] {
		now.Named = append(now.Named, record.Problem(p))
	}
	s := w.States.Of(r.ID)
	before := s.Imported
	if now.Points+now.VMs == 0 && (before == nil && now.Problems == 0 || before != nil && slices.Equal(before.Named, now.Named)) {
		return
	}
	s.Imported = now
	w.States.put(r.ID, s)
	w.Metrics.Imported(r.ID, now.Points, now.Problems)
	w.Watchers.Tell(events.Event{Kind: events.RepositoryImported, Imported: now})
	for _, p := range now.Named {
		w.Log.Warn("not imported, and left as it is", logkey.Repository, r.ID, logkey.Directory, p.Path, logkey.Reason, p.Reason)
	}
	if now.Points+now.VMs+now.Problems == 0 {
		return // what was wrong is gone
	}
	level := slog.LevelInfo
	if now.Problems > 0 {
		level = slog.LevelWarn
	}
	w.Log.Log(context.Background(), level, "the catalog had nothing of a repository: its restore points are imported", logkey.Repository, r.ID,
		"restore_points", now.Points, "vms", now.VMs, "problems", now.Problems)
}

// explained gives the differences the reasons that the import has found.
func (s State) explained(c rebuild.Comparison) rebuild.Comparison {
	if s.Imported == nil {
		return c
	}
	for i, d := range c.Named {
		for _, p := range s.Imported.Named {
			if p.Path == d.Path && d.Kind == rebuild.Unrecorded {
				c.Named[i].Reason = p.Reason
			}
		}
	}
	return c
}

// logOthers names the directories that are no restore points, once.
func (w *Watcher) logOthers(r *storage.Repository, before, now rebuild.Comparison) {
	if now.Others == 0 || slices.Equal(before.Examples, now.Examples) {
		return
	}
	for _, path := range now.Examples {
		w.Log.Warn("a directory of a repository is no restore point: it has no manifest, and no record names it; it is left as it is",
			logkey.Repository, r.ID, logkey.Directory, path)
	}
}

// retry says when a comparison that failed is repeated.
func (w *Watcher) retry(r *storage.Repository, err error) time.Duration {
	if admission.IsClosed(err) {
		return catalogClosed
	}
	if fresh, err := w.isNew(r.ID); err == nil && fresh {
		return catalogNew
	}
	return catalogRetry
}
