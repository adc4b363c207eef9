package clienttest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// TestOnlyChangesOfEveryDisk: an incremental receives only the changes of every disk, in any order of vCenter's disks, and also
// after a restart during the copy. Manifest and record say so.
func TestOnlyChangesOfEveryDisk(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, sources := w.Disks.Three("vm")
	full := w.Point("vm", record.Full)
	for i, d := range full.Runs {
		if d.Copied != record.CopiedWhole || d.CopiedWhy != "full backup" || d.Order != []int{2, 3, 1}[i] {
			t.Errorf("disk %d of the full backup: %+v", i, d)
		}
	}
	for round := range 2 {
		for i := range sources {
			agenttest.Scribble(t, sources[i], int64(2+i+round)<<20)
		}
		w.SNA.Hold("copy/1")
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
		agenttest.Must(t, err)
		_, err = w.SNA.WaitHeld(t.Context(), b.ID, "copy/1")
		agenttest.Must(t, err)
		if round == 1 {
			w.Stop()
			w.Start()
		}
		w.SNA.Release("copy/1")
		if b = w.Wait(b.ID); b.State != record.Completed {
			t.Fatalf("%+v", b.Failure)
		}
		for i, d := range b.Runs {
			if d.Copied != record.CopiedChanges || d.CopiedWhy != "changes since "+d.ParentChangeID || d.ReceivedBytes > 256<<10 {
				t.Errorf("disk %d: %d bytes: %+v", i, d.ReceivedBytes, d)
			}
			if m := w.Manifest(b).Disks[i]; m.Copied != d.Copied || m.CopiedWhy != d.CopiedWhy || m.CopyOrder != d.Order || m.ReceivedBytes != d.ReceivedBytes {
				t.Errorf("manifest: %+v", m)
			}
		}
		w.ComparePoint(b, agenttest.Freeze(t, sources))
	}
	_ = vm
}

// TestOrderNotKnown: if the order in which the disks are copied is unknown, the first guess costs a copy of a whole disk, and no
// data.
func TestOrderNotKnown(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, sources := w.PutVM("vm", 16<<20, 32<<20, 24<<20)
	w.Point("vm", record.Full)
	w.Disks.Reorder(vm, sources, 2, 0, 1) // as if the parent did not tell the order
	for i := range sources {
		agenttest.Scribble(t, sources[i], 2<<20)
	}
	b := w.Point("vm", record.Incremental)
	want := []record.Copied{record.CopiedChanges, record.CopiedChanges, record.CopiedWhole}
	for i, d := range b.Runs {
		if d.Copied != want[i] || d.Change != record.Same || d.Backing == "" {
			t.Errorf("disk %d: %+v", i, d)
		}
	}
	w.ComparePoint(b, agenttest.Freeze(t, sources))
	agenttest.Scribble(t, sources[2], 4<<20)
	for i, d := range w.Point("vm", record.Incremental).Runs {
		if d.Copied != record.CopiedChanges {
			t.Errorf("disk %d, once the order is known: %+v", i, d)
		}
	}
}

// TestReplacedDisk: a disk whose change id is of another disk gets a full image without a backing file, encrypted or not. The next
// backup is based on it.
func TestReplacedDisk(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(*config.Config, *snatest.Options){
		"plain":     func(*config.Config, *snatest.Options) {},
		"encrypted": agenttest.Encrypted("key-1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, configure)
			vm, sources := w.PutVM("vm", 16<<20, 8<<20)
			full := w.Point("vm", record.Full)
			frozen := agenttest.Freeze(t, sources)
			agenttest.Scribble(t, sources[0], 3<<20)
			w.Disks.Replace(vm, sources, 1)
			b := w.Point("vm", record.Incremental)
			d := b.Runs[1]
			if d.Change != record.Replaced || d.Content != record.WholeDisk || d.Backing != "" || d.Copied != record.CopiedWhole ||
				!strings.Contains(d.CopiedWhy, d.ChangeID) {
				t.Errorf("the disk that was replaced: %+v", d)
			}
			if d := b.Runs[0]; d.Change != record.Same || d.Content != record.Changes || d.Copied != record.CopiedChanges {
				t.Errorf("the other: %+v", d)
			}
			m := w.Manifest(b).Disks[1]
			info, err := qemu.Tools{}.Info(d.Image)
			if err != nil || info.BackingFile != "" || m.Backing != "" || m.Content != record.WholeDisk || m.Change != record.Replaced {
				t.Errorf("image %+v, %v; manifest %+v", info, err, m)
			}
			second := agenttest.Freeze(t, sources)
			if name == "encrypted" { // QEMU takes seconds for each image: what is based on it is the same as without encryption
				agenttest.WantVerified(t, w.Verify(b, true), record.VerifiedOK, nil)
				w.Restores.Compare(w.Restores.Serve(restore.Request{BackupID: b.ID}), second)
				return
			}
			agenttest.Scribble(t, sources[1], 1<<20)
			next := w.Point("vm", record.Incremental)
			if d := next.Runs[1]; d.Copied != record.CopiedChanges || d.ReceivedBytes > 256<<10 || d.Change != record.Same {
				t.Errorf("after it: %+v", d)
			}
			w.ComparePoint(full, frozen)
			w.ComparePoint(b, second)
			w.ComparePoint(next, agenttest.Freeze(t, sources))
			agenttest.WantVerified(t, w.Verify(next, true), record.VerifiedOK, nil)
		})
	}
}

// TestDisksChangePlaces: two disks that change places are each copied whole and have no backing file. Depending on the order, the
// client asks vCenter for the changes of one disk since the change id of the other; then vCenter refuses and the client ends. If
// vCenter did not refuse, the report of the disk would fail the backup.
func TestDisksChangePlaces(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]int{"in order": {0, 1}, "the other first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
				c.Deadlines.NoProgress = config.DurationOf(3 * time.Second)
			})
			vm, sources := w.PutVM("vm", 8<<20, 8<<20)
			ids := []string{"52 0a", "52 0b"}
			swap := func(order []int, uuid func(i int) string) {
				simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
				for _, i := range order {
					simulated.Disks = append(simulated.Disks, snatest.Disk{Key: vm.Disks[i].Key(), UnitNumber: i, Source: sources[i], UUID: uuid(i)})
				}
				agenttest.Must(t, w.SNA.SetVM(simulated))
			}
			swap([]int{0, 1}, func(i int) string { return ids[i] })
			w.Point("vm", record.Full)
			sources[0], sources[1] = sources[1], sources[0]
			swap(order, func(i int) string { return ids[1-i] })
			b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
			agenttest.Must(t, err)
			b = w.Wait(b.ID)
			if order[0] == 1 {
				if b.State != record.Failed {
					t.Errorf("%s: %+v", b.State, b.Failure)
				}
				return
			}
			if b.State != record.Completed || b.Runs[0].Change != record.Replaced || b.Runs[1].Change != record.Replaced {
				t.Errorf("%s: %+v %+v", b.State, b.Failure, b.Runs)
			}
			w.ComparePoint(b, sources)
		})
	}
}

// TestSharedUUID: two disks of one VM that share the UUID of their change ids, as copies may, are distinguished by their number.
func TestSharedUUID(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	vm, sources := w.PutVM("vm", 8<<20, 8<<20)
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for i := range sources {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: sources[i], UUID: "52 aa"})
	}
	slices.Reverse(simulated.Disks)
	agenttest.Must(t, w.SNA.SetVM(simulated))
	w.Point("vm", record.Full)
	for i := range 3 {
		agenttest.Scribble(t, sources[i%2], int64(i)<<20)
		b := w.Point("vm", record.Incremental)
		w.ComparePoint(b, agenttest.Freeze(t, sources))
	}
}

// TestUnknownDisk: a disk that vCenter has and the record does not have fails the backup, full or incremental, wherever the disk is
// in the order, and also if the agent is restarted before the client can ask about it.
func TestUnknownDisk(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
				c.Deadlines.LastQuestion = config.DurationOf(3 * time.Second)
			})
			vm, sources := w.PutVM("vm", 8<<20, 8<<20)
			full := w.Point("vm", record.Full)
			known := vm
			vm, sources = w.Disks.Add(vm, sources, 4<<20)
			_, err := w.Agent.Inventory.Put(known)
			agenttest.Must(t, err)
			for _, kind := range []record.Type{record.Full, record.Incremental} {
				if restart {
					w.SNA.Hold("disconnect/1")
				}
				b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: kind, Repository: "main"})
				agenttest.Must(t, err)
				if restart {
					w.RestartDuring(b.ID, "disconnect/1")
				}
				b = w.Wait(b.ID)
				if b.State != record.Failed || b.Failure.Reason != string(fault.DiskUnknown) || b.UnknownDiskAt.IsZero() ||
					!strings.Contains(b.Failure.Hint, "put all of its disks on record") {
					t.Errorf("%s: %s: %+v", kind, b.State, b.Failure)
				}
			}
			w.Disks.PutAgain(vm, sources)
			b := w.Point("vm", record.Incremental)
			if b.Parent != full.ID || b.Runs[2].CopiedWhy != "the disk was added" {
				t.Errorf("once it is on record: %+v", b)
			}
			w.ComparePoint(b, sources)
		})
	}
}

// TestSameLastSegment: two VMs whose paths end alike are distinguished by what is in progress. The incrementals of both hold only
// the changes. A disk that is not on record fails the backup of its own VM only.
func TestSameLastSegment(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.LastQuestion = config.DurationOf(3 * time.Second)
	})
	vms, sources := make([]record.VM, 2), make([][]string, 2)
	for i, name := range []string{"one", "two"} {
		vms[i], sources[i] = w.PutVM(name, 8<<20, 8<<20, 8<<20)
		vms[i].InventoryPath = "/DC1/vm/of " + name + "/web"
		w.Disks.PutAgain(vms[i], sources[i])
		w.Point(name, record.Full)
		agenttest.Scribble(t, sources[i][0], 2<<20)
		agenttest.Scribble(t, sources[i][2], 2<<20)
	}
	start := func(vm, point string) record.Backup {
		t.Helper()
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm, Type: record.Incremental, Repository: "main"})
		agenttest.Must(t, err)
		if point != "" {
			_, err = w.SNA.WaitHeld(t.Context(), b.ID, point)
			agenttest.Must(t, err)
		}
		return b
	}
	w.SNA.Hold("copy/2")
	one := start("one", "copy/2")
	two := start("two", "copy/2")
	w.SNA.Release("copy/2")
	for i, id := range []string{one.ID, two.ID} {
		b := w.Wait(id)
		for _, d := range b.Runs {
			if b.State != record.Completed || d.Copied != record.CopiedChanges {
				t.Errorf("%s is %s (%+v): %+v", b.VM.Name, b.State, b.Failure, d)
			}
		}
		w.ComparePoint(b, sources[i])
	}

	known := vms[1]
	known.Disks = known.Disks[:2]
	_, err := w.Agent.Inventory.Put(known) // vCenter has one disk more
	agenttest.Must(t, err)
	w.SNA.Hold("complete/2")
	one = start("one", "complete/2")
	two = w.Wait(start("two", "").ID)
	if two.State != record.Failed || two.Failure.Reason != string(fault.DiskUnknown) {
		t.Errorf("two is %s: %+v", two.State, two.Failure)
	} else if !strings.Contains(two.Failure.Message, "the client of backup "+one.ID+" has asked") {
		t.Errorf("who else may have asked is not said: %s", two.Failure.Message)
	}
	w.SNA.Release("complete/2")
	if one = w.Wait(one.ID); one.State != record.Completed {
		t.Errorf("one is %s: %+v", one.State, one.Failure)
	}
}
