package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func (w *world) delete(id string) error { return w.agent.DeleteBackup(w.Context(), id, false) }

// gone checks that nothing is left of a deleted backup but its id, which is never given again.
func (w *world) gone(b record.Backup) {
	w.Helper()
	_, err := w.agent.Backup(b.ID)
	wantError(w.TB, err, agent.BackupNotFound, b.ID)
	if _, err := os.Lstat(b.Directory); !os.IsNotExist(err) {
		w.Errorf("%s is left behind: %v", b.Directory, err)
	}
	if removed, err := w.store.Removed(b.ID); !removed || err != nil {
		w.Errorf("removed %v, error %v", removed, err)
	}
}

// TestDeleteChain: a restore point that others stand on stays; from the newest down all can be deleted, and the next backup
// is a full one.
func TestDeleteChain(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.putVM("vm", 16<<20, 16<<20)
	full := w.point("vm", record.Full)
	frozen := freeze(t, sources)
	scribble(t, sources[0], 1<<20)
	second := w.point("vm", record.Incremental)
	scribble(t, sources[1], 1<<20)
	third := w.point("vm", record.Incremental)

	wantError(t, w.delete(full.ID), agent.HasChildren, second.ID)
	wantError(t, w.delete(second.ID), agent.HasChildren, third.ID)
	wantError(t, w.delete("backup-vm-1"), agent.BackupNotFound, "backup-vm-1")
	must(t, w.delete(third.ID))
	w.gone(third)
	must(t, w.delete(third.ID)) // nothing is left to do
	must(t, w.delete(second.ID))
	w.gone(second)
	w.comparePoint(full, frozen)

	again := w.point("vm", record.Auto)
	if again.Parent != full.ID {
		t.Fatalf("the next one stands on %q, not on %s", again.Parent, full.ID)
	}
	must(t, w.delete(again.ID))
	must(t, w.delete(full.ID))
	if entries, err := os.ReadDir(filepath.Dir(filepath.Dir(full.Directory))); err != nil || len(entries) > 0 {
		t.Errorf("the repository holds %v, %v", entries, err)
	}
	if b := w.point(vm.Name, record.Auto); b.Type != record.Full {
		t.Errorf("with no restore point left the next backup is %s", b.Type)
	}
}

func TestDeleteActive(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 16<<20)
	w.sna.Hold("copy/0")
	b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	must(t, err)
	wantError(t, w.delete(b.ID), agent.WrongState, "running")
	w.sna.Release("copy/0")
	must(t, w.delete(w.wait(b.ID).ID))
	w.gone(b)
}

// TestDeleteFailed: of a failed backup there is the record, and what was set aside.
func TestDeleteFailed(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Agent.FailedImages = config.SetAsideImages })
	w.putVM("vm", 16<<20)
	b := w.failsWhile("copy/0", func(b record.Backup) { kill(t, b.Runs[0].PID) }, agent.ExporterFailed)
	aside := filepath.Join(w.config.Repositories[0].Path, ".failed", "vm", b.ID)
	if _, err := os.Stat(aside); err != nil {
		t.Fatal(err)
	}
	must(t, w.delete(b.ID))
	w.gone(b)
	if _, err := os.Stat(filepath.Dir(aside)); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", filepath.Dir(aside), err)
	}
}

// TestDeleteUnmounted: a repository that is not mounted looks like one in which everything is deleted already. The record
// must not go then.
func TestDeleteUnmounted(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 16<<20)
	b := w.point("vm", record.Full)
	path := w.config.Repositories[0].Path
	away := path + ".away"
	must(t, os.Rename(path, away))
	wantError(t, w.delete(b.ID), agent.RepositoryFailed, "no such file")
	must(t, os.Mkdir(path, 0o755)) // the empty mount point
	err := w.delete(b.ID)
	wantError(t, err, agent.RepositoryFailed, "there is no such directory")
	if hint := agent.AsError(err).Hint; !strings.Contains(hint, "mounted") {
		t.Errorf("hint %q", hint)
	}
	must(t, os.Remove(path))
	must(t, os.Rename(away, path))
	if got, err := w.agent.Backup(b.ID); err != nil || got.State != record.Completed {
		t.Fatalf("it is %s, error %v", got.State, err)
	}
	must(t, os.RemoveAll(b.Directory)) // by hand
	wantError(t, w.delete(b.ID), agent.RepositoryFailed, "there is no such directory")
	must(t, w.agent.DeleteBackup(t.Context(), b.ID, true))
	w.gone(b)
}

// TestDeleteInterrupted: a deletion that was cut short by a repository out of reach is brought to its end by the next agent.
func TestDeleteInterrupted(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 16<<20)
	b := w.point("vm", record.Full)
	must(t, unix.Mount(os.DevNull, b.Runs[0].Image, "", unix.MS_BIND, "")) // what something is mounted on cannot be removed
	err := w.delete(b.ID)
	must(t, unix.Unmount(b.Runs[0].Image, 0))
	wantError(t, err, agent.RepositoryFailed, "not removed yet")
	if got, err := w.agent.Backup(b.ID); err != nil || got.State != record.Deleting {
		t.Fatalf("it is %s, error %v", got.State, err)
	}
	if next := w.point("vm", record.Auto); next.Type != record.Full {
		t.Errorf("a backup stands on %s, which is being deleted", next.Parent)
	}
	w.stop()
	w.start()
	w.eventually("the deletion is done", func() bool {
		_, err := w.store.Backup(b.ID)
		return err != nil
	})
	w.gone(b)
}
