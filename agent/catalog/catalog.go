// Package catalog compares the catalog, which is the database, with the manifests in each repository, and tells what differs. If the
// catalog has nothing of a repository, it imports what is there. It corrects nothing else: a person does, with the command rebuild.
package catalog

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Watcher works with.
type Parts struct {
	Store        *store.Store
	Repositories *repositories.Set
	Gate         *admission.Gate
	Jobs         *job.Group
	Log          *slog.Logger
	Metrics      *metrics.Counters
	Watchers     *events.Watchers
}

// A Watcher compares the catalog with the repositories at intervals. Its methods may be called from any goroutine.
type Watcher struct {
	Parts
	States States
}

// New returns a Watcher that has compared nothing yet.
func New(p Parts) *Watcher { return &Watcher{Parts: p} }

// How often catalog and repository are compared. A comparison reads every manifest: for 100 000 restore points it takes 17 minutes, and
// is hardly a load for a network file system. After a comparison that found differences or failed, the next one comes sooner, so that a
// repair shows soon.
const (
	catalogInterval    = 6 * time.Hour
	catalogDiffers     = time.Hour
	catalogRetry       = 10 * time.Minute
	manifestsPerSecond = 100

	// While the catalog has nothing of a repository, it may be mounted late: a look costs one directory.
	catalogNew = time.Minute
	// A repository that is paused or does not answer is looked at soon after it answers. The question costs nothing.
	catalogClosed = 5 * time.Second
)

// rebuildHint is what to do about differences.
const rebuildHint = "stop the daemon and run 'sendense-agent rebuild --dry-run', which shows what it would import; then run it without --dry-run"

// A State is what is known of how the catalog and a repository agree.
type State struct {
	rebuild.Comparison
	Error     string         // why the last comparison failed; "" = it did not, or none has ended yet
	Importing bool           // an import is in progress
	Waiting   bool           // an import is continued by itself when the missing keys are there
	Imported  *record.Import // the last import since the start of the agent that found something; nil: there was none
}

// States are the states of all repositories, by id.
type States struct {
	mu    sync.Mutex
	known map[string]State
	again map[string]chan struct{} // cap 1: a record was removed that may have been a difference
}

// wakes is the channel that starts the next comparison of a repository early.
func (c *States) wakes(repository string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.again == nil {
		c.again = map[string]chan struct{}{}
	}
	if c.again[repository] == nil {
		c.again[repository] = make(chan struct{}, 1)
	}
	return c.again[repository]
}

// Settled starts a comparison of a repository early if a restore point was missing there: a record was removed, which may have been the
// difference. An operator who did what the doctor said sees the effect at once.
func (c *States) Settled(repository string) {
	if c.Of(repository).Missing == 0 {
		return
	}
	select {
	case c.wakes(repository) <- struct{}{}:
	default: // a comparison is requested already
	}
}

// Of returns the state of one repository.
func (c *States) Of(repository string) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[repository]
}

// put sets the state of one repository, and returns the one before.
func (c *States) put(repository string, s State) (before State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]State{}
	}
	before, c.known[repository] = c.known[repository], s
	return before
}

// State is what is known of how the catalog and a repository agree. It does not access the repository.
func (w *Watcher) State(repository string) State { return w.States.Of(repository) }

// Watch compares a repository with the catalog at intervals, until the agent ends: an older database that was put back has no record of
// newer restore points. If the catalog has nothing of the repository, its restore points are imported first. A repository that hangs
// blocks nothing, not even the end of the agent. While one is paused, or does not answer, no comparison starts.
func (w *Watcher) Watch(r *storage.Repository) {
	w.Metrics.Imported(r.ID, 0, 0) // the counters exist from the start
	pace := rate.NewLimiter(manifestsPerSecond, manifestsPerSecond)
	for {
		var found rebuild.Comparison
		err := w.Gate.Check(r.ID)
		if err == nil {
			err = w.importNew(r)
		}
		if err == nil {
			found, err = rebuild.Compare(w.Jobs.Work, w.Store, r, pace.Wait)
		}
		if w.Jobs.Work.Err() != nil {
			return
		}
		wait := w.compared(r, found, err)
		select {
		case <-w.Jobs.Work.Done():
			return
		case <-w.States.wakes(r.ID):
		case <-time.After(wait):
		}
	}
}

// compared keeps and logs the result of a comparison, and returns when the next one is due.
func (w *Watcher) compared(r *storage.Repository, found rebuild.Comparison, err error) time.Duration {
	if err != nil {
		s := w.States.Of(r.ID)
		if s.Error != err.Error() {
			w.Log.Warn("cannot compare a repository with the catalog", logkey.Repository, r.ID, logkey.Error, err)
		}
		s.Error = err.Error()
		w.States.put(r.ID, s)
		return w.retry(r, err)
	}
	now := w.States.Of(r.ID)
	now.Error = ""
	now.Waiting, _ = w.Store.Importing(r.ID) // the comparison could read the database
	now.Comparison = now.explained(found)
	before := w.States.put(r.ID, now)
	found = now.Comparison
	w.logOthers(r, before.Comparison, found)
	if found.Differences() == 0 {
		level := slog.LevelDebug
		if before.Differences() > 0 {
			level = slog.LevelInfo
		}
		w.Log.Log(context.Background(), level, "repository and catalog agree", logkey.Repository, r.ID, "restore_points", found.Points)
		if found.IsNew() {
			return catalogNew
		}
		return catalogInterval
	}
	if !slices.Equal(before.Named, found.Named) {
		for _, d := range found.Named {
			w.Log.Warn("catalog and repository differ about a restore point", logkey.Repository, r.ID, logkey.BackupID, d.BackupID,
				"kind", string(d.Kind), logkey.Directory, d.Path, logkey.Reason, d.Reason)
		}
	}
	hint := "catalog and repository differ: is this an older database? " + rebuildHint
	if now.Waiting {
		hint = "restore points are not in the catalog yet: give the daemon the missing keys and restart it; it then imports them by itself"
	}
	w.Log.Warn(hint, logkey.Repository, r.ID,
		string(rebuild.Unrecorded), found.Unrecorded, string(rebuild.Missing), found.Missing,
		string(rebuild.Different), found.Different, "named", len(found.Named))
	return catalogDiffers
}
