package agent

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/repository"
)

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
const rebuildHint = "stop the daemon and run 'sendense-agent rebuild --dry-run', which says what it would take in; then without --dry-run"

// A CatalogState is what is known of how the catalog and a repository agree.
type CatalogState struct {
	rebuild.Comparison
	Error string // why the last comparison could not be made; "" = it was, or none has ended yet
}

// catalogs are the states of all repositories, by id.
type catalogs struct {
	mu    sync.Mutex
	known map[string]CatalogState
	again map[string]chan struct{} // cap 1: something happened that a comparison found missing
}

// wakes is what has the repository compared before its time.
func (c *catalogs) wakes(repository string) chan struct{} {
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

// settled has a repository compared again if anything was missing there: a record was removed, which may have been what differed.
// Whoever did as the doctor said sees at once that it is done.
func (c *catalogs) settled(repository string) {
	if c.of(repository).Missing == 0 {
		return
	}
	select {
	case c.wakes(repository) <- struct{}{}:
	default: // it is going to be
	}
}

func (c *catalogs) of(repository string) CatalogState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[repository]
}

func (c *catalogs) put(repository string, s CatalogState) (before CatalogState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]CatalogState{}
	}
	before, c.known[repository] = c.known[repository], s
	return before
}

// Catalog is what is known of how the catalog and a repository agree. It looks at no repository.
func (a *Agent) Catalog(repository string) CatalogState { return a.catalogs.of(repository) }

// watchCatalog compares what lies in a repository with the catalog, now and then: an older database that was put back knows nothing
// of what was made since. A repository that hangs holds up nobody, not even the agent's end.
func (a *Agent) watchCatalog(r *repository.Repository) {
	pace := rate.NewLimiter(manifestsPerSecond, manifestsPerSecond)
	for {
		type outcome struct {
			found rebuild.Comparison
			err   error
		}
		ended := make(chan outcome, 1)
		go func() {
			found, err := rebuild.Compare(a.jobs.work, a.store, r, pace.Wait)
			ended <- outcome{found, err}
		}()
		wait := catalogRetry
		select {
		case <-a.jobs.work.Done():
			return
		case o := <-ended:
			if a.jobs.work.Err() != nil {
				return
			}
			wait = a.compared(r, o.found, o.err)
		}
		select {
		case <-a.jobs.work.Done():
			return
		case <-a.catalogs.wakes(r.ID):
		case <-time.After(wait):
		}
	}
}

// compared keeps and tells what a comparison has found, and says when the next one is made.
func (a *Agent) compared(r *repository.Repository, found rebuild.Comparison, err error) time.Duration {
	if err != nil {
		s := a.catalogs.of(r.ID)
		if s.Error != err.Error() {
			a.log.Warn("what lies in a repository cannot be compared with the catalog", logRepository, r.ID, logError, err)
		}
		s.Error = err.Error()
		a.catalogs.put(r.ID, s)
		return catalogRetry
	}
	before := a.catalogs.put(r.ID, CatalogState{Comparison: found})
	if found.Differences() == 0 {
		level := slog.LevelDebug
		if before.Differences() > 0 {
			level = slog.LevelInfo
		}
		a.log.Log(context.Background(), level, "repository and catalog agree", logRepository, r.ID, "restore_points", found.Points)
		return catalogInterval
	}
	found.At = before.At // it was just as it is
	if !reflect.DeepEqual(before.Comparison, found) {
		for _, d := range found.Named {
			a.log.Warn("catalog and repository differ about a restore point", logRepository, r.ID, logBackupID, d.BackupID,
				"kind", string(d.Kind), logDirectory, d.Path, logReason, d.Reason)
		}
	}
	a.log.Warn("catalog and repository differ: is this an older database? "+rebuildHint, logRepository, r.ID,
		string(rebuild.Unrecorded), found.Unrecorded, string(rebuild.Missing), found.Missing,
		string(rebuild.Different), found.Different, "named", len(found.Named))
	return catalogDiffers
}
