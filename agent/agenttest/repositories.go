package agenttest

import (
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// WithSecond configures a second repository, "second", beside "main".
func WithSecond(c *config.Config, _ *snatest.Options) {
	path := filepath.Join(filepath.Dir(c.Repositories[0].Path), "second")
	if err := os.Mkdir(path, 0o755); err != nil {
		panic(err)
	}
	c.Repositories = append(c.Repositories, config.Repository{ID: "second", Path: path})
}

// SetStuck says to the agent that a repository does not answer from now on, or that it answers again.
func (w *World) SetStuck(repository string, stuck bool) {
	if stuck {
		w.stuck.Store(repository, time.Now())
	} else {
		w.stuck.Delete(repository)
	}
}

func (w *World) stuckSince(repository string) (time.Time, bool) {
	since, stuck := w.stuck.Load(repository)
	if !stuck {
		return time.Time{}, false
	}
	return since.(time.Time), true
}

// Ask asks for a backup in a repository; it may be queued. It fails the test if that fails.
func (w *World) Ask(vm, repository string) record.Backup {
	w.Helper()
	b, err := w.Agent.Backups.Start(w.Context(), backup.Request{VMName: vm, Type: record.Auto, Repository: repository, Queue: true})
	Must(w.TB, err)
	return b
}
