package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/storage"
)

// TestComparedWhileAtWork: a comparison finds no difference at any moment of the agent's work.
func TestComparedWhileAtWork(t *testing.T) {
	w := agenttest.New(t)
	repo := storage.New(storage.Options{Spec: storage.Spec{ID: "main", Path: w.Config.Repositories[0].Path}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var looks int
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			c, err := rebuild.Compare(ctx, w.Store, repo, nil)
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, repository.ErrEmpty) {
				t.Errorf("comparing: %v", err)
			}
			if c.Differences() > 0 {
				t.Errorf("taken for a difference: %+v", c.Named)
			}
			looks++
		}
	})
	points := w.Chains.Life("a")
	_, err := w.Agent.Merges.SyntheticFull(t.Context(), points[1].ID)
	agenttest.Must(t, err)
	for i := len(points) - 1; i >= 0; i-- {
		agenttest.Must(t, w.Delete(points[i].ID))
	}
	failing := w.StartBackup("a")
	_, err = w.Agent.Backups.Cancel(t.Context(), failing.ID)
	agenttest.Must(t, err)
	w.Wait(failing.ID)
	cancel()
	wait.Wait()
	if looks < 100 {
		t.Errorf("only %d looks", looks)
	}
}

// TestCatalogOfRepositoryAway: in a repository that is not mounted no restore point counts as missing. The agent does not wait for it at its end.
func TestCatalogOfRepositoryAway(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("a", 1<<20)
	b := w.StartBackup("a")
	if b = w.Wait(b.ID); b.State != record.Completed {
		t.Fatalf("%+v", b)
	}
	w.Stop()
	path := w.Config.Repositories[0].Path
	agenttest.Must(t, os.Rename(path, path+".away"))
	agenttest.Must(t, os.Mkdir(path, 0o755))
	w.Start()
	state := func() catalog.State {
		r, err := w.Agent.RepositoryStatus(t.Context(), "main")
		agenttest.Must(t, err)
		return r.Catalog
	}
	w.Eventually("it is compared", func() bool { return state().Error != "" })
	if s := state(); !strings.Contains(s.Error, "is empty: is it mounted?") || s.Differences() != 0 || !s.At.IsZero() {
		t.Errorf("%+v", s)
	}
	w.WantSeries(w.Scrape(), agenttest.Series{`sendense_catalog_differences{kind="missing",repository="main"}`: -1})
	agenttest.Must(t, os.Remove(path))
	agenttest.Must(t, os.Rename(path+".away", path))
}

// TestCatalogMetrics: differences are counted by repository and kind.
func TestCatalogMetrics(t *testing.T) {
	var spare string
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		spare = filepath.Join(filepath.Dir(c.Repositories[0].Path), "spare")
		agenttest.Must(t, os.Mkdir(spare, 0o755))
		c.Repositories = append(c.Repositories, config.Repository{ID: "spare", Path: spare})
	})
	w.PutVM("a", 1<<20)
	b := w.Wait(w.StartBackup("a").ID)
	w.Stop()
	agenttest.Must(t, os.CopyFS(filepath.Join(spare, "a"), os.DirFS(filepath.Dir(b.Directory)))) // a copy without a record
	away := filepath.Join(w.Dir, "away")
	agenttest.Must(t, os.Rename(b.Directory, away))
	w.Start()
	w.Eventually("both are compared", func() bool {
		for _, r := range w.Agent.RepositoryStatuses(t.Context()) {
			if r.Catalog.At.IsZero() {
				return false
			}
		}
		return true
	})
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_catalog_differences{kind="missing",repository="main"}`:     1,
		`sendense_catalog_differences{kind="unrecorded",repository="main"}`:  0,
		`sendense_catalog_differences{kind="different",repository="main"}`:   0,
		`sendense_catalog_differences{kind="unrecorded",repository="spare"}`: 1,
	})
	agenttest.Must(t, os.Rename(away, b.Directory))
}

// TestCatalogOfRecordRemoved: a record whose directory is lost is removed as the doctor says. The difference is gone long before the next
// comparison is due.
func TestCatalogOfRecordRemoved(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("a", 1<<20)
	kept, gone := w.Point("a", record.Full), w.Point("a", record.Full)
	w.Stop()
	agenttest.Must(t, os.Rename(gone.Directory, filepath.Join(w.Dir, "away")))
	w.Start()
	w.Eventually("it is missing", func() bool { return w.Agent.Catalog.State("main").Missing == 1 })
	agenttest.Must(t, w.Agent.Policies.Delete(t.Context(), gone.ID, true))
	w.Eventually("nothing differs", func() bool {
		s := w.Agent.Catalog.State("main")
		return s.Differences() == 0 && s.Points == 1
	})
	if b, err := w.Agent.Records.Backup(kept.ID); err != nil || b.State != record.Completed {
		t.Errorf("%+v, %v", b, err)
	}
}
