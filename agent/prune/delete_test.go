package prune_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestDeleteChain: a restore point with children cannot be deleted. From the newest down all can be deleted, and the next backup is a
// full backup.
func TestDeleteChain(t *testing.T) {
	w := agenttest.New(t)
	vm, sources := w.PutVM("vm", 16<<20, 16<<20)
	full := w.Point("vm", record.Full)
	frozen := agenttest.Freeze(t, sources)
	agenttest.Scribble(t, sources[0], 1<<20)
	second := w.Point("vm", record.Incremental)
	agenttest.Scribble(t, sources[1], 1<<20)
	third := w.Point("vm", record.Incremental)

	agenttest.WantError(t, w.Delete(full.ID), fault.HasChildren, second.ID)
	agenttest.WantError(t, w.Delete(second.ID), fault.HasChildren, third.ID)
	agenttest.WantError(t, w.Delete("backup-vm-1"), fault.BackupNotFound, "backup-vm-1")
	agenttest.Must(t, w.Delete(third.ID))
	w.Gone(third)
	agenttest.Must(t, w.Delete(third.ID)) // it was deleted before
	agenttest.Must(t, w.Delete(second.ID))
	w.Gone(second)
	w.ComparePoint(full, frozen)

	again := w.Point("vm", record.Auto)
	if again.Parent != full.ID {
		t.Fatalf("the next one stands on %q, not on %s", again.Parent, full.ID)
	}
	agenttest.Must(t, w.Delete(again.ID))
	agenttest.Must(t, w.Delete(full.ID))
	if entries, err := os.ReadDir(filepath.Dir(filepath.Dir(full.Directory))); err != nil || len(entries) > 0 {
		t.Errorf("the repository holds %v, %v", entries, err)
	}
	if b := w.Point(vm.Name, record.Auto); b.Type != record.Full {
		t.Errorf("with no restore point left the next backup is %s", b.Type)
	}
}

func TestDeleteActive(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20)
	w.SNA.Hold("copy/0")
	b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.Must(t, err)
	agenttest.WantError(t, w.Delete(b.ID), fault.WrongState, "running")
	w.SNA.Release("copy/0")
	agenttest.Must(t, w.Delete(w.Wait(b.ID).ID))
	w.Gone(b)
}

// TestDeleteFailed: a deletion of a failed backup removes its record and the images that were set aside.
func TestDeleteFailed(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Agent.FailedImages = config.SetAsideImages })
	w.PutVM("vm", 16<<20)
	b := w.FailsWhile("copy/0", func(b record.Backup) {
		w.WaitFor(b.ID, func(b record.Backup) bool { return !b.SeenAt.IsZero() }) // images are set aside only if something was copied
		agenttest.Kill(t, b.Runs[0].PID)
	}, fault.ExporterFailed)
	aside := filepath.Join(w.Config.Repositories[0].Path, ".failed", "vm", b.ID)
	if _, err := os.Stat(aside); err != nil {
		t.Fatal(err)
	}
	agenttest.Must(t, w.Delete(b.ID))
	w.Gone(b)
	if _, err := os.Stat(filepath.Dir(aside)); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", filepath.Dir(aside), err)
	}
}

// TestDeleteUnmounted: a repository that is not mounted looks like one in which everything is deleted already. The record must stay
// then.
func TestDeleteUnmounted(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20)
	b := w.Point("vm", record.Full)
	path := w.Config.Repositories[0].Path
	away := path + ".away"
	agenttest.Must(t, os.Rename(path, away))
	agenttest.WantError(t, w.Delete(b.ID), fault.RepositoryFailed, "no such file")
	agenttest.Must(t, os.Mkdir(path, 0o755)) // the empty mount point
	err := w.Delete(b.ID)
	agenttest.WantError(t, err, fault.RepositoryFailed, "there is no such directory")
	if hint := fault.From(err).Hint; !strings.Contains(hint, "mounted") {
		t.Errorf("hint %q", hint)
	}
	agenttest.Must(t, os.Remove(path))
	agenttest.Must(t, os.Rename(away, path))
	if got, err := w.Agent.Records.Backup(b.ID); err != nil || got.State != record.Completed {
		t.Fatalf("it is %s, error %v", got.State, err)
	}
	agenttest.Must(t, os.RemoveAll(b.Directory)) // by hand
	agenttest.WantError(t, w.Delete(b.ID), fault.RepositoryFailed, "there is no such directory")
	agenttest.Must(t, w.Agent.Policies.Delete(t.Context(), b.ID, true))
	w.Gone(b)
}

// TestDeleteInterrupted: the next agent completes a deletion that an unreachable repository interrupted.
func TestDeleteInterrupted(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20)
	b := w.Point("vm", record.Full)
	agenttest.Must(t, unix.Mount(os.DevNull, b.Runs[0].Image, "", unix.MS_BIND, "")) // a mount point cannot be removed
	err := w.Delete(b.ID)
	agenttest.Must(t, unix.Unmount(b.Runs[0].Image, 0))
	agenttest.WantError(t, err, fault.RepositoryFailed, "not removed yet")
	if got, err := w.Agent.Records.Backup(b.ID); err != nil || got.State != record.Deleting {
		t.Fatalf("it is %s, error %v", got.State, err)
	}
	if next := w.Point("vm", record.Auto); next.Type != record.Full {
		t.Errorf("a backup stands on %s, which is being deleted", next.Parent)
	}
	w.Stop()
	w.Start()
	w.Eventually("the deletion is done", func() bool {
		_, err := w.Store.Backup(b.ID)
		return err != nil
	})
	w.Gone(b)
}
