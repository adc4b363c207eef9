package clienttest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestIncrementalConnections: a client whose connections end before its report, or keep one open until its process ends, is not
// gone.
func TestIncrementalConnections(t *testing.T) {
	t.Parallel()
	for _, lost := range []snatest.LostHandle{snatest.LostAtOnce, snatest.LostUntilEnd} {
		t.Run(string(lost), func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
				c.Deadlines.ClientGone = config.DurationOf(9 * time.Second)
			})
			_, sources := w.PutVM("vm", 8<<20, 8<<20)
			w.Completes(w.StartBackup("vm"), sources)
			for _, s := range sources {
				agenttest.Scribble(t, s, 1<<20)
			}
			agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{LostHandle: lost}))
			for _, point := range []string{"complete/0", "disk/1", "complete/1"} {
				w.SNA.Hold(point)
			}
			b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
			agenttest.Must(t, err)
			for _, point := range []string{"complete/0", "disk/1", "complete/1"} {
				_, err := w.SNA.WaitHeld(t.Context(), b.ID, point)
				agenttest.Must(t, err)
				time.Sleep(1500 * time.Millisecond)
				w.SNA.Release(point)
			}
			w.Completes(b, sources)
		})
	}
}

// TestUnknownDiskBeforeOthers: the client asks about each disk of the snapshot, and ends at one that has no export. The error names
// that cause too, wherever the disk is in the order.
func TestUnknownDiskBeforeOthers(t *testing.T) {
	t.Parallel()
	for place, reason := range []fault.Reason{fault.ClientSilent, fault.ClientGone} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
				c.Deadlines.NextReport, c.Deadlines.ClientGone = config.DurationOf(agenttest.ClientGone), config.DurationOf(agenttest.ClientGone)
				o.SnapshotBeforeAnswer = false
			})
			record, sources := w.PutVM("vm", 1<<20, 1<<20)
			vm := snatest.VM{Name: record.Name, Path: record.InventoryPath}
			for i, d := range record.Disks {
				vm.Disks = append(vm.Disks, snatest.Disk{Key: d.DeviceKey, UnitNumber: d.UnitNumber, Source: sources[i]})
			}
			vm.Disks = slices.Insert(vm.Disks, place, snatest.Disk{Key: 2010, UnitNumber: 10, Source: sources[0]})
			agenttest.Must(t, w.SNA.SetVM(vm))
			b := w.FailsWith(w.StartBackup("vm").ID, reason, "a disk of the VM that is not on record", "vm.put")
			if complete := b.Runs[0].Complete; complete != (place == 1) {
				t.Errorf("the first disk is complete: %v", complete)
			}
		})
	}
}
