package clienttest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestChain makes a full backup, an incremental, one after a disk was added, and one after a disk grew and another was removed. It
// compares every restore point with the disks as they were at that time.
func TestChain(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, sources := w.PutVM("vm", 64<<20, 32<<20)
	full := w.Point("vm", record.Auto)
	if full.Type != record.Full || full.Parent != "" {
		t.Fatalf("the first backup is %s on %q", full.Type, full.Parent)
	}
	frozenFull := agenttest.Freeze(t, sources)

	agenttest.Scribble(t, sources[0], 10<<20)
	first := w.Point("vm", record.Auto)
	if first.Type != record.Incremental || first.Parent != full.ID {
		t.Fatalf("the second backup is %s on %q", first.Type, first.Parent)
	}
	if d := first.Runs[0]; d.ReceivedBytes > 1<<20 {
		t.Errorf("64 KiB changed, and %d bytes were received", d.ReceivedBytes)
	}
	frozenFirst := agenttest.Freeze(t, sources)

	vm, sources = w.Disks.Add(vm, sources, 16<<20)
	agenttest.Scribble(t, sources[1], 1<<20)
	second := w.Point("vm", record.Incremental)
	if second.Runs[2].Change != record.Added || second.Runs[2].Backing != "" || second.Runs[0].Change != record.Same {
		t.Errorf("disks of the incremental after one was added: %+v", second.Runs)
	}
	frozenSecond := agenttest.Freeze(t, sources)

	agenttest.Must(t, os.Truncate(sources[0], 80<<20))
	agenttest.Scribble(t, sources[0], 79<<20)
	vm.Disks[0].CapacityBytes = 80 << 20
	vm.Disks = append(vm.Disks[:1], vm.Disks[2:]...)
	sources = append(sources[:1:1], sources[2:]...)
	w.Disks.PutAgain(vm, sources)
	third := w.Point("vm", record.Incremental)
	if third.Runs[0].Change != record.Grown || len(third.RemovedDisks) != 1 || third.RemovedDisks[0] != 1 {
		t.Errorf("disks of the incremental after one grew and one went: %+v, removed %v", third.Runs, third.RemovedDisks)
	}
	w.ComparePoint(full, frozenFull)
	w.ComparePoint(first, frozenFirst)
	w.ComparePoint(second, frozenSecond)
	w.ComparePoint(third, agenttest.Freeze(t, sources))
}

func TestIncrementalWithoutParent(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Repositories = append(c.Repositories, config.Repository{ID: "other", Path: filepath.Dir(c.Agent.StateDirectory) + "/other"})
		agenttest.Must(t, os.Mkdir(c.Repositories[1].Path, 0o755))
	})
	w.PutVM("vm", 1<<20)
	request := backup.Request{VMName: "vm", Type: record.Incremental, Repository: "other"}
	_, err := w.Agent.Backups.Start(t.Context(), request)
	agenttest.WantError(t, err, fault.NoParent, "no restore point in repository other")
	w.Point("vm", record.Full) // in another repository: no parent either
	_, err = w.Agent.Backups.Start(t.Context(), request)
	agenttest.WantError(t, err, fault.NoParent, "no restore point in repository other")
}

// TestFailedBackupIsNoParent: no backup is based on one that failed or was canceled.
func TestFailedBackupIsNoParent(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(0) })
	w.PutVM("vm", 1<<20)
	full := w.Point("vm", record.Full)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "copy/0")
	agenttest.Must(t, err)
	_, err = w.Agent.Backups.Cancel(t.Context(), b.ID)
	agenttest.Must(t, err)
	w.SNA.Release("copy/0")
	if b := w.Point("vm", record.Incremental); b.Parent != full.ID {
		t.Errorf("the incremental stands on %s, want %s", b.Parent, full.ID)
	}
}

// TestDamagedParent: an incremental inherits no damage. auto makes a full backup instead.
func TestDamagedParent(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t testing.TB, b record.Backup){
		"image gone":    func(t testing.TB, b record.Backup) { agenttest.Must(t, os.Remove(b.Runs[0].Image)) },
		"manifest gone": func(t testing.TB, b record.Backup) { agenttest.Must(t, os.Remove(b.Directory+"/manifest.json")) },
		"image emptied": func(t testing.TB, b record.Backup) { agenttest.Must(t, os.Truncate(b.Runs[0].Image, 0)) },
		"hostile backing file": func(t testing.TB, b record.Backup) {
			out, err := exec.Command("qemu-img", "rebase", "-u", "-F", "raw", "-b", "/etc/shadow", b.Runs[0].Image).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t)
			w.PutVM("vm", 8<<20)
			damage(t, w.Point("vm", record.Full))
			_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
			agenttest.WantError(t, err, fault.NoParent, "cannot be a parent")
			if b := w.Point("vm", record.Auto); b.Type != record.Full {
				t.Errorf("auto made a backup of type %s", b.Type)
			}
		})
	}
}

func TestChangeIDAnswers(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	ask := func(want string) {
		t.Helper()
		answer, err := w.Agent.Clients.ChangeID("vm", 0)
		agenttest.Must(t, err)
		if answer.ChangeID != want {
			t.Errorf("change id %q (%s), want %q", answer.ChangeID, answer.Message, want)
		}
	}
	ask("")
	full := w.Point("vm", record.Full)
	ask("")
	for _, c := range []struct {
		kind record.Type
		want string
	}{{record.Full, ""}, {record.Incremental, full.Runs[0].ChangeID}} {
		w.SNA.Hold("complete/0")
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: c.kind, Repository: "main"})
		agenttest.Must(t, err)
		if c.kind == record.Incremental {
			c.want = w.Disks.LastChangeID("vm", b.ID)
		}
		ask(c.want)
		w.SNA.Release("complete/0")
		w.Wait(b.ID)
	}
}

// TestParentDeletedMeanwhile: no backup is based on a restore point that is deleted while the backup starts. The backup chooses
// another parent, or the deletion is refused.
func TestParentDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, sources := w.PutVM("vm", 4<<20)
	for i := range 8 {
		newest := w.Point(vm.Name, record.Auto)
		agenttest.Scribble(t, sources[0], int64(i)<<16)
		deleted := make(chan error, 1)
		go func() {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			deleted <- w.Agent.Policies.Delete(t.Context(), newest.ID, false)
		}()
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm.Name, Type: record.Auto, Repository: "main"})
		agenttest.Must(t, err)
		err = <-deleted
		stands := b.Parent == newest.ID
		if e := fault.From(err); stands != (err != nil) || err != nil && e.Reason != fault.HasChildren {
			t.Errorf("it stands on it: %v, and the deletion ended with %v", stands, err)
		}
		if b = w.Wait(b.ID); b.State != record.Completed {
			t.Errorf("%s: %+v", b.State, b.Failure)
		}
		w.Compare(sources[0], b.Runs[0].Image)
	}
}
