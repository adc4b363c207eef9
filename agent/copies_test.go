package agent_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// threeDisks is a VM with three disks on two controllers, which vCenter has in another order than the record: the disk of the
// second controller comes first.
func (w *world) threeDisks(name string) (record.VM, []string) {
	w.Helper()
	vm, sources := w.putVM(name, 16<<20, 32<<20, 24<<20)
	vm.Disks[2].DeviceKey, vm.Disks[2].UnitNumber = 2016, 0
	w.putAgain(vm, sources)
	w.reorder(vm, sources, 2, 0, 1)
	return vm, sources
}

// reorder gives vCenter the disks of a VM in another order than the record.
func (w *world) reorder(vm record.VM, sources []string, order ...int) {
	w.Helper()
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for _, i := range order {
		d := vm.Disks[i]
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[i]})
	}
	must(w.TB, w.sna.SetVM(simulated))
}

// replaceDisk gives vCenter another disk of the same size in the place of one.
func (w *world) replaceDisk(vm record.VM, sources []string, i int) {
	w.Helper()
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for j, d := range vm.Disks {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[j]})
	}
	simulated.Disks[i].UUID = "52 99 99 99 99 99 99 99-99 99 99 99 99 99 99 99"
	must(w.TB, os.Remove(sources[i]))
	writeSource(w.TB, sources[i], vm.Disks[i].CapacityBytes)
	must(w.TB, w.sna.SetVM(simulated))
}

// TestOnlyChangesOfEveryDisk: of every disk of an incremental the changes are received and no more, whatever order vCenter has the
// disks in, and after a restart in the midst of it. Manifest and record say so.
func TestOnlyChangesOfEveryDisk(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.threeDisks("vm")
	full := w.point("vm", record.Full)
	for i, d := range full.Runs {
		if d.Copied != record.CopiedWhole || d.CopiedWhy != "full backup" || d.Order != []int{2, 3, 1}[i] {
			t.Errorf("disk %d of the full backup: %+v", i, d)
		}
	}
	for round := range 2 {
		for i := range sources {
			scribble(t, sources[i], int64(2+i+round)<<20)
		}
		w.sna.Hold("copy/1")
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
		must(t, err)
		_, err = w.sna.WaitHeld(t.Context(), b.ID, "copy/1")
		must(t, err)
		if round == 1 {
			w.stop()
			w.start()
		}
		w.sna.Release("copy/1")
		if b = w.wait(b.ID); b.State != record.Completed {
			t.Fatalf("%+v", b.Failure)
		}
		for i, d := range b.Runs {
			if d.Copied != record.CopiedChanges || d.CopiedWhy != "changes since "+d.ParentChangeID || d.ReceivedBytes > 256<<10 {
				t.Errorf("disk %d: %d bytes: %+v", i, d.ReceivedBytes, d)
			}
			if m := w.manifest(b).Disks[i]; m.Copied != d.Copied || m.CopiedWhy != d.CopiedWhy || m.CopyOrder != d.Order || m.ReceivedBytes != d.ReceivedBytes {
				t.Errorf("manifest: %+v", m)
			}
		}
		w.comparePoint(b, freeze(t, sources))
	}
	_ = vm
}

// TestOrderNotKnown: where nothing tells the order in which the disks are walked, the first guess costs a copy of a whole disk, and
// no data.
func TestOrderNotKnown(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.putVM("vm", 16<<20, 32<<20, 24<<20)
	w.point("vm", record.Full)
	w.reorder(vm, sources, 2, 0, 1) // as if the parent had told nothing
	for i := range sources {
		scribble(t, sources[i], 2<<20)
	}
	b := w.point("vm", record.Incremental)
	want := []record.Copied{record.CopiedChanges, record.CopiedChanges, record.CopiedWhole}
	for i, d := range b.Runs {
		if d.Copied != want[i] || d.Change != record.Same || d.Backing == "" {
			t.Errorf("disk %d: %+v", i, d)
		}
	}
	w.comparePoint(b, freeze(t, sources))
	scribble(t, sources[2], 4<<20)
	for i, d := range w.point("vm", record.Incremental).Runs {
		if d.Copied != record.CopiedChanges {
			t.Errorf("disk %d, once the order is known: %+v", i, d)
		}
	}
}

// TestReplacedDisk: a disk whose change id is of another disk gets a full image, which stands on nothing, encrypted or not. What
// comes after it stands on that.
func TestReplacedDisk(t *testing.T) {
	giveKeys(t, map[string]string{"k1": firstKey})
	for name, configure := range map[string]func(*config.Config, *snatest.Options){
		"plain":     func(*config.Config, *snatest.Options) {},
		"encrypted": encrypted("k1"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, configure)
			vm, sources := w.putVM("vm", 16<<20, 8<<20)
			full := w.point("vm", record.Full)
			frozen := freeze(t, sources)
			scribble(t, sources[0], 3<<20)
			w.replaceDisk(vm, sources, 1)
			b := w.point("vm", record.Incremental)
			d := b.Runs[1]
			if d.Change != record.Replaced || d.Content != record.WholeDisk || d.Backing != "" || d.Copied != record.CopiedWhole ||
				!strings.Contains(d.CopiedWhy, d.ChangeID) {
				t.Errorf("the disk that was replaced: %+v", d)
			}
			if d := b.Runs[0]; d.Change != record.Same || d.Content != record.Changes || d.Copied != record.CopiedChanges {
				t.Errorf("the other: %+v", d)
			}
			m := w.manifest(b).Disks[1]
			info, err := qemu.Tools{}.Info(d.Image)
			if err != nil || info.BackingFile != "" || m.Backing != "" || m.Content != record.WholeDisk || m.Change != record.Replaced {
				t.Errorf("image %+v, %v; manifest %+v", info, err, m)
			}
			second := freeze(t, sources)
			scribble(t, sources[1], 1<<20)
			next := w.point("vm", record.Incremental)
			if d := next.Runs[1]; d.Copied != record.CopiedChanges || d.ReceivedBytes > 256<<10 || d.Change != record.Same {
				t.Errorf("after it: %+v", d)
			}
			if name == "plain" {
				w.comparePoint(full, frozen)
				w.comparePoint(b, second)
				w.comparePoint(next, freeze(t, sources))
			}
			wantVerified(t, w.verify(next, true), agent.VerifiedOK, nil)
			if name == "encrypted" {
				w.compareServed(w.serve(agent.RestoreRequest{BackupID: b.ID}), second)
			}
		})
	}
}

// TestDisksChangePlaces: two disks that change places are each copied whole and stand on nothing. Where the order in which they are
// walked has the client ask vCenter for the changes of one since the change id of the other, vCenter refuses, and the client ends; if
// vCenter had not, the report of the disk would fail the backup.
func TestDisksChangePlaces(t *testing.T) {
	for name, order := range map[string][]int{"in order": {0, 1}, "the other first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
				c.Deadlines.NoProgress = config.DurationOf(3 * time.Second)
			})
			vm, sources := w.putVM("vm", 8<<20, 8<<20)
			ids := []string{"52 0a", "52 0b"}
			swap := func(order []int, uuid func(i int) string) {
				simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
				for _, i := range order {
					simulated.Disks = append(simulated.Disks, snatest.Disk{Key: vm.Disks[i].Key(), UnitNumber: i, Source: sources[i], UUID: uuid(i)})
				}
				must(t, w.sna.SetVM(simulated))
			}
			swap([]int{0, 1}, func(i int) string { return ids[i] })
			w.point("vm", record.Full)
			sources[0], sources[1] = sources[1], sources[0]
			swap(order, func(i int) string { return ids[1-i] })
			b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
			must(t, err)
			b = w.wait(b.ID)
			if order[0] == 1 {
				if b.State != record.Failed {
					t.Errorf("%s: %+v", b.State, b.Failure)
				}
				return
			}
			if b.State != record.Completed || b.Runs[0].Change != record.Replaced || b.Runs[1].Change != record.Replaced {
				t.Errorf("%s: %+v %+v", b.State, b.Failure, b.Runs)
			}
			w.comparePoint(b, sources)
		})
	}
}

// TestSharedUUID: two disks of one VM that share the UUID of their change ids, as copies may, are told apart by their number.
func TestSharedUUID(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.putVM("vm", 8<<20, 8<<20)
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for i := range sources {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: sources[i], UUID: "52 aa"})
	}
	slices.Reverse(simulated.Disks)
	must(t, w.sna.SetVM(simulated))
	w.point("vm", record.Full)
	for i := range 3 {
		scribble(t, sources[i%2], int64(i)<<20)
		b := w.point("vm", record.Incremental)
		w.comparePoint(b, freeze(t, sources))
	}
}

// TestUnknownDisk: a disk that vCenter has and the record has not fails the backup, full or incremental, wherever the disk comes,
// also when the agent is restarted before the client can ask about it.
func TestUnknownDisk(t *testing.T) {
	for name, restart := range map[string]bool{"": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
				c.Deadlines.LastQuestion = config.DurationOf(3 * time.Second)
			})
			vm, sources := w.putVM("vm", 8<<20, 8<<20)
			full := w.point("vm", record.Full)
			known := vm
			vm, sources = w.addDisk(vm, sources, 4<<20)
			_, err := w.agent.PutVM(known)
			must(t, err)
			for _, kind := range []record.Type{record.Full, record.Incremental} {
				if restart {
					w.sna.Hold("disconnect/1")
				}
				b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: kind, Repository: "main"})
				must(t, err)
				if restart {
					w.restartDuring(b.ID, "disconnect/1")
				}
				b = w.wait(b.ID)
				if b.State != record.Failed || b.Failure.Reason != string(agent.DiskUnknown) || b.UnknownDiskAt.IsZero() ||
					!strings.Contains(b.Failure.Hint, "put all of its disks on record") {
					t.Errorf("%s: %s: %+v", kind, b.State, b.Failure)
				}
			}
			w.putAgain(vm, sources)
			b := w.point("vm", record.Incremental)
			if b.Parent != full.ID || b.Runs[2].CopiedWhy != "the disk was added" {
				t.Errorf("once it is on record: %+v", b)
			}
			w.comparePoint(b, sources)
		})
	}
}

// restartDuring restarts the agent while SBC stands still at a point. What SBC asks meanwhile waits, as at a socket unit.
func (w *world) restartDuring(id, point string) {
	w.Helper()
	_, err := w.sna.WaitHeld(w.Context(), id, point)
	must(w.TB, err)
	w.waitFor(id, func(b record.Backup) bool { return b.State == record.Finishing })
	started := make(chan struct{})
	var waiting http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		<-started
		(*w.hub.Load()).ServeHTTP(rw, r)
	})
	w.hub.Store(&waiting)
	w.stop()
	w.sna.Release(point)
	time.Sleep(100 * time.Millisecond) // the question comes while there is no agent
	w.start()
	close(started)
}

// TestSameLastSegment: two VMs whose paths end alike are told apart by what is going on. The incrementals of both hold the changes
// only, and a disk that one of them lacks fails that one.
func TestSameLastSegment(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.LastQuestion = config.DurationOf(3 * time.Second)
	})
	vms, sources := make([]record.VM, 2), make([][]string, 2)
	for i, name := range []string{"one", "two"} {
		vms[i], sources[i] = w.putVM(name, 8<<20, 8<<20, 8<<20)
		vms[i].InventoryPath = "/DC1/vm/of " + name + "/web"
		w.putAgain(vms[i], sources[i])
		w.point(name, record.Full)
		scribble(t, sources[i][0], 2<<20)
		scribble(t, sources[i][2], 2<<20)
	}
	start := func(vm, point string) record.Backup {
		t.Helper()
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm, Type: record.Incremental, Repository: "main"})
		must(t, err)
		if point != "" {
			_, err = w.sna.WaitHeld(t.Context(), b.ID, point)
			must(t, err)
		}
		return b
	}
	w.sna.Hold("copy/2")
	one := start("one", "copy/2")
	two := start("two", "copy/2")
	w.sna.Release("copy/2")
	for i, id := range []string{one.ID, two.ID} {
		b := w.wait(id)
		for _, d := range b.Runs {
			if b.State != record.Completed || d.Copied != record.CopiedChanges {
				t.Errorf("%s is %s (%+v): %+v", b.VM.Name, b.State, b.Failure, d)
			}
		}
		w.comparePoint(b, sources[i])
	}

	known := vms[1]
	known.Disks = known.Disks[:2]
	_, err := w.agent.PutVM(known) // vCenter has one more
	must(t, err)
	w.sna.Hold("complete/2")
	one = start("one", "complete/2")
	two = w.wait(start("two", "").ID)
	if two.State != record.Failed || two.Failure.Reason != string(agent.DiskUnknown) {
		t.Errorf("two is %s: %+v", two.State, two.Failure)
	} else if !strings.Contains(two.Failure.Message, "the client of backup "+one.ID+" has asked") {
		t.Errorf("who else may have asked is not said: %s", two.Failure.Message)
	}
	w.sna.Release("complete/2")
	if one = w.wait(one.ID); one.State != record.Completed {
		t.Errorf("one is %s: %+v", one.State, one.Failure)
	}
}
