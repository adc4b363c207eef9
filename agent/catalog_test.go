package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestComparedWhileAtWork: whatever the agent is doing, no moment of it is taken for a difference.
func TestComparedWhileAtWork(t *testing.T) {
	w := newWorld(t)
	repo := repository.New("main", w.config.Repositories[0].Path, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var looks int
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			c, err := rebuild.Compare(ctx, w.store, repo, nil)
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, repository.ErrEmpty) {
				t.Errorf("comparing: %v", err)
			}
			if c.Differences() > 0 {
				t.Errorf("taken for a difference: %+v", c.Named)
			}
			looks++
		}
	})
	chain := w.life("a")
	_, err := w.agent.Consolidate(t.Context(), chain[1].ID)
	must(t, err)
	for i := len(chain) - 1; i >= 0; i-- {
		must(t, w.delete(chain[i].ID))
	}
	failing := w.startBackup("a")
	_, err = w.agent.CancelBackup(t.Context(), failing.ID)
	must(t, err)
	w.wait(failing.ID)
	cancel()
	wait.Wait()
	if looks < 100 {
		t.Errorf("only %d looks", looks)
	}
}

// TestCatalogOfRepositoryAway: a repository that is not mounted has no restore point missing, and is no reason to wait at the end.
func TestCatalogOfRepositoryAway(t *testing.T) {
	w := newWorld(t)
	w.putVM("a", 1<<20)
	b := w.startBackup("a")
	if b = w.wait(b.ID); b.State != record.Completed {
		t.Fatalf("%+v", b)
	}
	w.stop()
	path := w.config.Repositories[0].Path
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o755))
	w.start()
	state := func() agent.CatalogState {
		r, err := w.agent.Repository("main")
		must(t, err)
		return r.Catalog
	}
	w.eventually("it is compared", func() bool { return state().Error != "" })
	if s := state(); !strings.Contains(s.Error, "is empty: is it mounted?") || s.Differences() != 0 || !s.At.IsZero() {
		t.Errorf("%+v", s)
	}
	w.wantSeries(w.scrape(), series{`sendense_catalog_differences{kind="missing",repository="main"}`: -1})
	must(t, os.Remove(path))
	must(t, os.Rename(path+".away", path))
}

// TestCatalogMetrics: what differs is counted, by repository and kind.
func TestCatalogMetrics(t *testing.T) {
	var spare string
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		spare = filepath.Join(filepath.Dir(c.Repositories[0].Path), "spare")
		must(t, os.Mkdir(spare, 0o755))
		c.Repositories = append(c.Repositories, config.Repository{ID: "spare", Path: spare})
	})
	w.putVM("a", 1<<20)
	b := w.wait(w.startBackup("a").ID)
	w.stop()
	must(t, os.CopyFS(filepath.Join(spare, "a"), os.DirFS(filepath.Dir(b.Directory)))) // a copy, which has no record
	away := filepath.Join(w.dir, "away")
	must(t, os.Rename(b.Directory, away))
	w.start()
	w.eventually("both are compared", func() bool {
		for _, r := range w.agent.Repositories() {
			if r.Catalog.At.IsZero() {
				return false
			}
		}
		return true
	})
	w.wantSeries(w.scrape(), series{
		`sendense_catalog_differences{kind="missing",repository="main"}`:     1,
		`sendense_catalog_differences{kind="unrecorded",repository="main"}`:  0,
		`sendense_catalog_differences{kind="different",repository="main"}`:   0,
		`sendense_catalog_differences{kind="unrecorded",repository="spare"}`: 1,
	})
	must(t, os.Rename(away, b.Directory))
}

// TestCatalogOfRecordRemoved: a record whose directory is gone for good is taken off as the doctor says, and no difference is told
// any more, long before the next comparison is due.
func TestCatalogOfRecordRemoved(t *testing.T) {
	w := newWorld(t)
	w.putVM("a", 1<<20)
	kept, gone := w.point("a", record.Full), w.point("a", record.Full)
	w.stop()
	must(t, os.Rename(gone.Directory, filepath.Join(w.dir, "away")))
	w.start()
	w.eventually("it is missing", func() bool { return w.agent.Catalog("main").Missing == 1 })
	must(t, w.agent.DeleteBackup(t.Context(), gone.ID, true))
	w.eventually("nothing differs", func() bool {
		s := w.agent.Catalog("main")
		return s.Differences() == 0 && s.Points == 1
	})
	if b, err := w.agent.Backup(kept.ID); err != nil || b.State != record.Completed {
		t.Errorf("%+v, %v", b, err)
	}
}
