package agent_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// largeChain makes a full backup and an incremental of a disk that takes a while to copy.
func (w *world) largeChain() (chain []instant) {
	w.Helper()
	const size = 96 << 20
	_, sources := w.putVM("vm", size)
	data := make([]byte, size)
	_, _ = rand.Read(data)
	must(w.TB, os.WriteFile(sources[0], data, 0o600))
	chain = append(chain, instant{w.point("vm", record.Full), freeze(w.TB, sources)})
	scribble(w.TB, sources[0], 1<<20)
	return append(chain, instant{w.point("vm", record.Incremental), freeze(w.TB, sources)})
}

// consolidation is one that is under way.
func (w *world) consolidation(id string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := w.agent.Consolidate(w.Context(), id)
		done <- err
	}()
	return done
}

// untilPhase waits until a rewriting is in a phase.
func (w *world) untilPhase(id, phase string, fraction float64) {
	w.Helper()
	w.eventually("rewriting of "+id+" is "+phase, func() bool {
		p, ok := w.agent.RewriteProgress(id)
		return ok && p.Phase == phase && p.Fraction >= fraction
	})
}

// fails waits for the end of a consolidation that cannot succeed, and looks that everything is as it was.
func (w *world) fails(done <-chan error, reason agent.Reason, words string, chain []instant) {
	w.Helper()
	var e *agent.Error
	if err := <-done; !errors.As(err, &e) || e.Reason != reason || !strings.Contains(err.Error(), words) {
		w.Errorf("it ended with %v, want %s: %s", err, reason, words)
	}
	w.asBefore(chain)
}

func (w *world) asBefore(chain []instant) {
	w.Helper()
	last := chain[len(chain)-1]
	w.eventually("nothing is left of the rewriting", func() bool {
		b, err := w.agent.Backup(last.ID)
		must(w.TB, err)
		left, err := filepath.Glob(filepath.Join(filepath.Dir(last.Directory), ".merge-*"))
		must(w.TB, err)
		return b.Merge == nil && len(left) == 0
	})
	b, err := w.agent.Backup(last.ID)
	must(w.TB, err)
	if b.Type != record.Incremental || b.Parent != last.Parent || b.Merged != nil {
		w.Errorf("it is not what it was: %+v", b)
	}
	w.whole(chain...)
}

// processOf finds a qemu-img that does something in a directory; 0 if there is none.
func processOf(verb, dir string) int {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), "qemu-img\x00"+verb+"\x00") && !strings.Contains(string(text), "/qemu-img\x00"+verb+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && strings.Contains(string(text), dir) {
			return pid
		}
	}
	return 0
}

// TestRewriteFails: whatever ends the making of new images, the chain is what it was, and nothing is left.
func TestRewriteFails(t *testing.T) {
	t.Run("qemu-img is killed", func(t *testing.T) {
		w := newWorld(t)
		chain := w.largeChain()
		done := w.consolidation(chain[1].ID)
		var pid int
		w.eventually("qemu-img copies", func() bool {
			pid = processOf("commit", w.dir)
			return pid != 0
		})
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		w.fails(done, agent.ImageFailed, "disk 0: the new image: ", chain)
	})
	t.Run("it is cancelled", func(t *testing.T) {
		w := newWorld(t)
		chain := w.largeChain()
		done := w.consolidation(chain[1].ID)
		w.untilPhase(chain[1].ID, "merging", 0)
		b, err := w.agent.CancelBackup(t.Context(), chain[1].ID)
		if err != nil || b.State != record.Completed {
			t.Errorf("%+v, %v", b, err)
		}
		w.fails(done, agent.WrongState, "cancelled", chain)
	})
	t.Run("the agent stops", func(t *testing.T) {
		w := newWorld(t)
		chain := w.largeChain()
		done := w.consolidation(chain[1].ID)
		w.untilPhase(chain[1].ID, "merging", 0)
		w.stop()
		var e *agent.Error
		if err := <-done; !errors.As(err, &e) || e.Reason != agent.ShuttingDown {
			t.Errorf("%v", err)
		}
		w.start()
		w.asBefore(chain)
	})
	t.Run("a layer is damaged", func(t *testing.T) {
		w := newWorld(t)
		chain := w.largeChain()
		image := chain[0].Runs[0].Image
		before, err := os.ReadFile(image)
		must(t, err)
		damage := append([]byte(nil), before...)
		_, _ = rand.Read(damage[1<<20 : 8<<20]) // tables of the image, not its header
		must(t, os.WriteFile(image, damage, 0o440))
		err = <-w.consolidation(chain[1].ID)
		var e *agent.Error
		if !errors.As(err, &e) || e.Reason != agent.ImageFailed {
			t.Errorf("%v", err)
		}
		must(t, os.WriteFile(image, before, 0o440))
		w.asBefore(chain)
	})
	t.Run("there is no room, and that is known", func(t *testing.T) {
		w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Space = config.Space{Reserve: config.SizeOf(64 << 20)} })
		chain := w.largeChain()
		w.stop()
		w.config.Space.Reserve = config.SizeOf(1 << 50)
		w.start()
		w.fails(w.consolidation(chain[1].ID), agent.NoSpace, "space.reserve", chain)
	})
	for name, floor := range map[string]int64{"the room runs out": 0, "the room is needed for backups": 200 << 20} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
				c.Space = config.Space{Floor: config.SizeOf(floor)}
				c.Repositories[0].Path = filepath.Join(filepath.Dir(c.Repositories[0].Path), "small")
				mountTmpfs(t, c.Repositories[0].Path, "size=700M")
			})
			chain := w.largeChain()
			done := w.consolidation(chain[1].ID)
			var pid int
			w.eventually("qemu-img copies", func() bool {
				pid = processOf("commit", w.dir)
				return pid != 0
			})
			must(t, syscall.Kill(pid, syscall.SIGSTOP))
			path := w.config.Repositories[0].Path
			space, err := repository.SpaceAt(path)
			must(t, err)
			ballast, err := os.Create(filepath.Join(path, "ballast"))
			must(t, err)
			must(t, unix.Fallocate(int(ballast.Fd()), 0, 0, int64(space.Free)-floor/2-1<<20))
			must(t, ballast.Close())
			if floor == 0 { // otherwise it is ended as it stands
				must(t, syscall.Kill(pid, syscall.SIGCONT))
			}
			err = <-done
			must(t, os.Remove(ballast.Name()))
			var e *agent.Error
			if !errors.As(err, &e) || e.Reason != agent.NoSpace {
				t.Errorf("%v", err)
			}
			w.asBefore(chain)
		})
	}
}

// TestRewriteWaitsForReaders: what is read is not exchanged before the reader has gone.
func TestRewriteWaitsForReaders(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 8<<20)
	w.point("vm", record.Full)
	scribble(t, sources[0], 2<<20)
	last := instant{w.point("vm", record.Incremental), freeze(t, sources)}
	r, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: last.ID})
	must(t, err)
	done := w.consolidation(last.ID)
	w.untilPhase(last.ID, "waiting", 1)
	err = w.agent.DeleteBackup(t.Context(), last.ID, false)
	var e *agent.Error
	if !errors.As(err, &e) || e.Reason != agent.Busy && e.Reason != agent.BeingRestored {
		t.Errorf("it may be deleted meanwhile: %v", err)
	}
	w.compareServed(r, last.disks)
	_, err = w.agent.StopRestore(t.Context(), r.ID)
	must(t, err)
	must(t, <-done)
	w.whole(last)

	// A backup stands on what it was begun on, and gets to its end.
	scribble(t, sources[0], 3<<20)
	next := instant{w.point("vm", record.Incremental), freeze(t, sources)}
	scribble(t, sources[0], 4<<20)
	w.sna.Hold("copy/0")
	running, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
	must(t, err)
	_, err = w.sna.WaitHeld(t.Context(), running.ID, "copy/0")
	must(t, err)
	done = w.consolidation(next.ID)
	w.untilPhase(next.ID, "waiting", 1)
	w.sna.Release("copy/0")
	must(t, <-done)
	if b := w.wait(running.ID); b.State != record.Completed || b.Parent != next.ID {
		t.Errorf("%+v", b)
	}
	w.whole(last, next)
}
