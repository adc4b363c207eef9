package merge_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestMergeFails: whatever stops the copy of a merge, the chain is unchanged, and nothing is left.
func TestMergeFails(t *testing.T) {
	t.Run("qemu-img is killed", func(t *testing.T) {
		w := agenttest.New(t)
		points := w.Chains.Large()
		done := w.Merges.Start(points[1].ID)
		agenttest.Must(t, syscall.Kill(w.StopMerge(w.Dir), syscall.SIGKILL))
		w.Merges.Fails(done, fault.ImageFailed, "disk 0: the new image: ", points)
	})
	t.Run("it is cancelled", func(t *testing.T) {
		w := agenttest.New(t)
		points := w.Chains.Large()
		done := w.Merges.Start(points[1].ID)
		w.Merges.UntilPhase(points[1].ID, "merging", 0)
		b, err := w.Agent.Backups.Cancel(t.Context(), points[1].ID)
		if err != nil || b.State != record.Completed {
			t.Errorf("%+v, %v", b, err)
		}
		w.Merges.Fails(done, fault.WrongState, "canceled", points)
	})
	t.Run("the agent stops", func(t *testing.T) {
		w := agenttest.New(t)
		points := w.Chains.Large()
		done := w.Merges.Start(points[1].ID)
		w.Merges.UntilPhase(points[1].ID, "merging", 0)
		w.Stop()
		var e *fault.Error
		if err := <-done; !errors.As(err, &e) || e.Reason != fault.ShuttingDown {
			t.Errorf("%v", err)
		}
		w.Start()
		w.Merges.AsBefore(points)
	})
	t.Run("a layer is damaged", func(t *testing.T) {
		w := agenttest.New(t)
		points := w.Chains.Large()
		image := points[0].Runs[0].Image
		before, err := os.ReadFile(image)
		agenttest.Must(t, err)
		damage := append([]byte(nil), before...)
		_, _ = rand.Read(damage[1<<20 : 8<<20]) // tables of the image, not its header
		agenttest.Must(t, os.WriteFile(image, damage, 0o440))
		err = <-w.Merges.Start(points[1].ID)
		var e *fault.Error
		if !errors.As(err, &e) || e.Reason != fault.ImageFailed {
			t.Errorf("%v", err)
		}
		agenttest.Must(t, os.WriteFile(image, before, 0o440))
		w.Merges.AsBefore(points)
	})
	t.Run("there is no room, and that is known", func(t *testing.T) {
		w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Space = config.Space{Reserve: config.SizeOf(64 << 20)} })
		points := w.Chains.Large()
		w.Stop()
		w.Config.Space.Reserve = config.SizeOf(1 << 50)
		w.Start()
		w.Merges.Fails(w.Merges.Start(points[1].ID), fault.NoSpace, "space.reserve", points)
	})
	for name, floor := range map[string]int64{"the room runs out": 0, "the room is needed for backups": 200 << 20} {
		t.Run(name, func(t *testing.T) {
			w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
				c.Space = config.Space{Floor: config.SizeOf(floor)}
				c.Repositories[0].Path = filepath.Join(filepath.Dir(c.Repositories[0].Path), "small")
				agenttest.MountTmpfs(t, c.Repositories[0].Path, "size=700M")
			})
			points := w.Chains.Large()
			done := w.Merges.Start(points[1].ID)
			pid := w.StopMerge(w.Dir)
			ballast := agenttest.Fill(t, w.Config.Repositories[0].Path, floor/2)
			if floor == 0 { // otherwise the merge is canceled while qemu-img is stopped
				agenttest.Must(t, syscall.Kill(pid, syscall.SIGCONT))
			}
			err := <-done
			agenttest.Must(t, os.Remove(ballast))
			var e *fault.Error
			if !errors.As(err, &e) || e.Reason != fault.NoSpace {
				t.Errorf("%v", err)
			}
			w.Merges.AsBefore(points)
		})
	}
}

// TestMergeWaitsForReaders: a merge of a restore point that is being read is committed only when the reader has ended.
func TestMergeWaitsForReaders(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 8<<20)
	w.Point("vm", record.Full)
	agenttest.Scribble(t, sources[0], 2<<20)
	last := agenttest.Instant{Backup: w.Point("vm", record.Incremental), Disks: agenttest.Freeze(t, sources)}
	r, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: last.ID})
	agenttest.Must(t, err)
	done := w.Merges.Start(last.ID)
	w.Merges.UntilPhase(last.ID, "waiting", 1)
	err = w.Agent.Policies.Delete(t.Context(), last.ID, false)
	var e *fault.Error
	if !errors.As(err, &e) || e.Reason != fault.Busy && e.Reason != fault.BeingRestored {
		t.Errorf("it may be deleted meanwhile: %v", err)
	}
	w.Restores.Compare(r, last.Disks)
	_, err = w.Agent.Restores.Stop(t.Context(), r.ID)
	agenttest.Must(t, err)
	agenttest.Must(t, <-done)
	w.Chains.Whole(last)

	// A merge waits for a backup that is based on its restore point. The backup keeps its parent and completes.
	agenttest.Scribble(t, sources[0], 3<<20)
	next := agenttest.Instant{Backup: w.Point("vm", record.Incremental), Disks: agenttest.Freeze(t, sources)}
	agenttest.Scribble(t, sources[0], 4<<20)
	w.SNA.Hold("copy/0")
	running, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
	agenttest.Must(t, err)
	_, err = w.SNA.WaitHeld(t.Context(), running.ID, "copy/0")
	agenttest.Must(t, err)
	done = w.Merges.Start(next.ID)
	w.Merges.UntilPhase(next.ID, "waiting", 1)
	w.SNA.Release("copy/0")
	agenttest.Must(t, <-done)
	if b := w.Wait(running.ID); b.State != record.Completed || b.Parent != next.ID {
		t.Errorf("%+v", b)
	}
	w.Chains.Whole(last, next)
}
