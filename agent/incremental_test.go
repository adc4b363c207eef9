package agent_test

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// start asks for a backup of a type and waits for its restore point.
func (w *world) point(vm string, kind record.Type) record.Backup {
	w.Helper()
	b, err := w.agent.StartBackup(w.Context(), agent.StartRequest{VMName: vm, Type: kind, Repository: "main"})
	must(w.TB, err)
	b = w.wait(b.ID)
	if b.State != record.Completed {
		w.Fatalf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
	}
	return b
}

// freeze copies the sources as they are now, so that a restore point can be compared later.
func freeze(t testing.TB, sources []string) []string {
	t.Helper()
	frozen := make([]string, len(sources))
	for i, s := range sources {
		frozen[i] = filepath.Join(t.TempDir(), filepath.Base(s))
		out, err := exec.Command("cp", "--sparse=always", s, frozen[i]).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return frozen
}

// scribble overwrites 64 KiB of a disk.
func scribble(t testing.TB, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	data := make([]byte, 64<<10)
	_, _ = rand.Read(data)
	_, err = f.WriteAt(data, offset)
	must(t, err)
}

func (w *world) comparePoint(b record.Backup, frozen []string) {
	w.Helper()
	for i, d := range b.Runs {
		w.compare(frozen[i], d.Image)
	}
}

// TestChain makes a full backup, an incremental, one after a disk was added, and one after a disk grew and another was
// removed, and compares every point with the disks as they were at its time.
func TestChain(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.putVM("vm", 64<<20, 32<<20)
	full := w.point("vm", record.Auto)
	if full.Type != record.Full || full.Parent != "" {
		t.Fatalf("the first backup is %s on %q", full.Type, full.Parent)
	}
	frozenFull := freeze(t, sources)

	scribble(t, sources[0], 10<<20)
	first := w.point("vm", record.Auto)
	if first.Type != record.Incremental || first.Parent != full.ID {
		t.Fatalf("the second backup is %s on %q", first.Type, first.Parent)
	}
	if d := first.Runs[0]; d.ReceivedBytes > 1<<20 {
		t.Errorf("64 KiB changed, and %d bytes were received", d.ReceivedBytes)
	}
	frozenFirst := freeze(t, sources)

	vm, sources = w.addDisk(vm, sources, 16<<20)
	scribble(t, sources[1], 1<<20)
	second := w.point("vm", record.Incremental)
	if second.Runs[2].Change != record.Added || second.Runs[2].Backing != "" || second.Runs[0].Change != record.Same {
		t.Errorf("disks of the incremental after one was added: %+v", second.Runs)
	}
	frozenSecond := freeze(t, sources)

	must(t, os.Truncate(sources[0], 80<<20))
	scribble(t, sources[0], 79<<20)
	vm.Disks[0].CapacityBytes = 80 << 20
	vm.Disks = append(vm.Disks[:1], vm.Disks[2:]...)
	sources = append(sources[:1:1], sources[2:]...)
	w.putAgain(vm, sources)
	third := w.point("vm", record.Incremental)
	if third.Runs[0].Change != record.Grown || len(third.RemovedDisks) != 1 || third.RemovedDisks[0] != 1 {
		t.Errorf("disks of the incremental after one grew and one went: %+v, removed %v", third.Runs, third.RemovedDisks)
	}
	w.comparePoint(full, frozenFull)
	w.comparePoint(first, frozenFirst)
	w.comparePoint(second, frozenSecond)
	w.comparePoint(third, freeze(t, sources))
}

// addDisk gives a VM one more disk.
func (w *world) addDisk(vm record.VM, sources []string, size int64) (record.VM, []string) {
	w.Helper()
	i := len(vm.Disks)
	source := filepath.Join(w.dir, "added-"+vm.Name+".raw")
	writeSource(w.TB, source, size)
	vm.Disks = append(vm.Disks, record.Disk{ID: i, UnitNumber: i, DeviceKey: 2000 + i, CapacityBytes: size})
	sources = append(sources, source)
	w.putAgain(vm, sources)
	return vm, sources
}

// putAgain puts a changed VM on record, at the SNA and with the agent.
func (w *world) putAgain(vm record.VM, sources []string) {
	w.Helper()
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for i, d := range vm.Disks {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[i]})
	}
	must(w.TB, w.sna.SetVM(simulated))
	_, err := w.agent.PutVM(vm)
	must(w.TB, err)
}

func TestIncrementalWithoutParent(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Repositories = append(c.Repositories, config.Repository{ID: "other", Path: filepath.Dir(c.Agent.StateDirectory) + "/other"})
		must(t, os.Mkdir(c.Repositories[1].Path, 0o755))
	})
	w.putVM("vm", 1<<20)
	request := agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "other"}
	_, err := w.agent.StartBackup(t.Context(), request)
	wantError(t, err, agent.NoParent, "no restore point in repository other")
	w.point("vm", record.Full) // in another repository: no parent either
	_, err = w.agent.StartBackup(t.Context(), request)
	wantError(t, err, agent.NoParent, "no restore point in repository other")
}

// TestFailedBackupIsNoParent: what failed or was cancelled is never stood upon.
func TestFailedBackupIsNoParent(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(0) })
	w.putVM("vm", 1<<20)
	full := w.point("vm", record.Full)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "copy/0")
	must(t, err)
	_, err = w.agent.CancelBackup(t.Context(), b.ID)
	must(t, err)
	w.sna.Release("copy/0")
	if b := w.point("vm", record.Incremental); b.Parent != full.ID {
		t.Errorf("the incremental stands on %s, want %s", b.Parent, full.ID)
	}
}

// TestDamagedParent: an incremental inherits no damage. auto makes a full backup instead.
func TestDamagedParent(t *testing.T) {
	for name, damage := range map[string]func(t testing.TB, b record.Backup){
		"image gone":    func(t testing.TB, b record.Backup) { must(t, os.Remove(b.Runs[0].Image)) },
		"manifest gone": func(t testing.TB, b record.Backup) { must(t, os.Remove(b.Directory+"/manifest.json")) },
		"image emptied": func(t testing.TB, b record.Backup) { must(t, os.Truncate(b.Runs[0].Image, 0)) },
		"hostile backing file": func(t testing.TB, b record.Backup) {
			out, err := exec.Command("qemu-img", "rebase", "-u", "-F", "raw", "-b", "/etc/shadow", b.Runs[0].Image).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.putVM("vm", 8<<20)
			damage(t, w.point("vm", record.Full))
			_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
			wantError(t, err, agent.NoParent, "cannot be built upon")
			if b := w.point("vm", record.Auto); b.Type != record.Full {
				t.Errorf("auto made a backup of type %s", b.Type)
			}
		})
	}
}

func TestChangeIDAnswers(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	ask := func(want string) {
		t.Helper()
		answer, err := w.agent.ChangeID("vm", 0)
		must(t, err)
		if answer.ChangeID != want {
			t.Errorf("change id %q (%s), want %q", answer.ChangeID, answer.Message, want)
		}
	}
	ask("")
	full := w.point("vm", record.Full)
	ask("")
	for _, c := range []struct {
		kind record.Type
		want string
	}{{record.Full, ""}, {record.Incremental, full.Runs[0].ChangeID}} {
		w.sna.Hold("complete/0")
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: c.kind, Repository: "main"})
		must(t, err)
		if c.kind == record.Incremental {
			c.want = w.lastChangeID("vm", b.ID)
		}
		ask(c.want)
		w.sna.Release("complete/0")
		w.wait(b.ID)
	}
}

// lastChangeID is the change id of the newest restore point before a backup.
func (w *world) lastChangeID(vm, before string) string {
	w.Helper()
	b, err := w.agent.Backup(before)
	must(w.TB, err)
	parent, err := w.agent.Backup(b.Parent)
	must(w.TB, err)
	return parent.Runs[0].ChangeID
}

// TestParentDeletedMeanwhile: a restore point that is deleted while a backup is about to stand on it is not stood upon: the backup
// finds other ground, or the deletion comes too late.
func TestParentDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.putVM("vm", 4<<20)
	for i := range 8 {
		newest := w.point(vm.Name, record.Auto)
		scribble(t, sources[0], int64(i)<<16)
		deleted := make(chan error, 1)
		go func() {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			deleted <- w.agent.DeleteBackup(t.Context(), newest.ID, false)
		}()
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm.Name, Type: record.Auto, Repository: "main"})
		must(t, err)
		err = <-deleted
		stands := b.Parent == newest.ID
		if e := agent.AsError(err); stands != (err != nil) || err != nil && e.Reason != agent.HasChildren {
			t.Errorf("it stands on it: %v, and the deletion ended with %v", stands, err)
		}
		if b = w.wait(b.ID); b.State != record.Completed {
			t.Errorf("%s: %+v", b.State, b.Failure)
		}
		w.compare(sources[0], b.Runs[0].Image)
	}
}
