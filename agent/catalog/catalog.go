// Package catalog compares the catalog, which is the database, with the manifests in each repository, and tells what differs. It corrects
// nothing: that is package rebuild's.
package catalog

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Watcher works with.
type Parts struct {
	Store *store.Store
	Jobs  *job.Group
	Log   *slog.Logger
}

// A Watcher compares catalog and repositories now and then. Its methods may be called from any goroutine.
type Watcher struct {
	Parts
	States States
}

// New returns a Watcher that has compared nothing yet.
func New(p Parts) *Watcher { return &Watcher{Parts: p} }

// How often catalog and repository are compared. A comparison reads every manifest: of 100 000 restore points it takes 17 minutes, of
// which a network file system hardly takes notice. One that found something, or could not be made, is made again sooner, so that what
// has been mended is known.
const (
	catalogInterval    = 6 * time.Hour
	catalogDiffers     = time.Hour
	catalogRetry       = 10 * time.Minute
	manifestsPerSecond = 100
)

// rebuildHint is what is done about what differs.
const rebuildHint = "stop the daemon and run 'sendense-agent rebuild --dry-run', which shows what it would import; then run it without --dry-run"

// A CatalogState is what is known of how the catalog and a repository agree.
type State struct {
	rebuild.Comparison
	Error string // why the last comparison could not be made; "" = it was, or none has ended yet
}

// States are the states of all repositories, by id.
type States struct {
	mu    sync.Mutex
	known map[string]State
	again map[string]chan struct{} // cap 1: something happened that a comparison found missing
}

// wakes is what has the repository compared before its time.
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

// Settled has a repository compared again if anything was missing there: a record was removed, which may have been what differed.
// Whoever did as the doctor said sees at once that it is done.
func (c *States) Settled(repository string) {
	if c.Of(repository).Missing == 0 {
		return
	}
	select {
	case c.wakes(repository) <- struct{}{}:
	default: // it is going to be
	}
}

func (c *States) Of(repository string) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[repository]
}

func (c *States) put(repository string, s State) (before State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]State{}
	}
	before, c.known[repository] = c.known[repository], s
	return before
}

// State is what is known of how the catalog and a repository agree. It looks at no repository.
func (w *Watcher) State(repository string) State { return w.States.Of(repository) }

// Watch compares what lies in a repository with the catalog, now and then: an older database that was put back knows nothing
// of what was made since. A repository that hangs holds up nobody, not even the agent's end.
func (w *Watcher) Watch(r *repository.Repository) {
	pace := rate.NewLimiter(manifestsPerSecond, manifestsPerSecond)
	for {
		type outcome struct {
			found rebuild.Comparison
			err   error
		}
		ended := make(chan outcome, 1)
		go func() {
			found, err := rebuild.Compare(w.Jobs.Work, w.Store, r, pace.Wait)
			ended <- outcome{found, err}
		}()
		wait := catalogRetry
		select {
		case <-w.Jobs.Work.Done():
			return
		case o := <-ended:
			if w.Jobs.Work.Err() != nil {
				return
			}
			wait = w.compared(r, o.found, o.err)
		}
		select {
		case <-w.Jobs.Work.Done():
			return
		case <-w.States.wakes(r.ID):
		case <-time.After(wait):
		}
	}
}

// compared keeps and tells what a comparison has found, and says when the next one is made.
func (w *Watcher) compared(r *repository.Repository, found rebuild.Comparison, err error) time.Duration {
	if err != nil {
		s := w.States.Of(r.ID)
		if s.Error != err.Error() {
			w.Log.Warn("cannot compare a repository with the catalog", logkey.Repository, r.ID, logkey.Error, err)
		}
		s.Error = err.Error()
		w.States.put(r.ID, s)
		return catalogRetry
	}
	before := w.States.put(r.ID, State{Comparison: found})
	if found.Differences() == 0 {
		level := slog.LevelDebug
		if before.Differences() > 0 {
			level = slog.LevelInfo
		}
		w.Log.Log(context.Background(), level, "repository and catalog agree", logkey.Repository, r.ID, "restore_points", found.Points)
		return catalogInterval
	}
	found.At = before.At // it was just as it is
	if !reflect.DeepEqual(before.Comparison, found) {
		for _, d := range found.Named {
			w.Log.Warn("catalog and repository differ about a restore point", logkey.Repository, r.ID, logkey.BackupID, d.BackupID,
				"kind", string(d.Kind), logkey.Directory, d.Path, logkey.Reason, d.Reason)
		}
	}
	w.Log.Warn("catalog and repository differ: is this an older database? "+rebuildHint, logkey.Repository, r.ID,
		string(rebuild.Unrecorded), found.Unrecorded, string(rebuild.Missing), found.Missing,
		string(rebuild.Different), found.Different, "named", len(found.Named))
	return catalogDiffers
}
