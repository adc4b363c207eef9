package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// clientGone is the deadline of a client that is gone in these tests: seconds here are the minute of production.
const clientGone = 3 * time.Second

func goneWorld(t *testing.T) *world {
	return newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.ClientGone = config.DurationOf(clientGone)
	})
}

// isGone waits for the end of a backup whose client is gone, and returns it. All words must be in the failure or its hint.
func (w *world) isGone(id string, words ...string) record.Backup {
	w.Helper()
	began := time.Now()
	b := w.wait(id)
	if b.State != record.Failed || b.Failure.Reason != string(agent.ClientGone) {
		w.Fatalf("backup is %s, %+v", b.State, b.Failure)
	}
	if took := time.Since(began); took > clientGone+10*time.Second {
		w.Errorf("it was noticed only after %s", took)
	}
	for _, word := range append(words, b.ID, "sbak-"+b.ID) {
		if !strings.Contains(b.Failure.Message+"\n"+b.Failure.Hint, word) {
			w.Errorf("%q is not in: %s\n%s", word, b.Failure.Message, b.Failure.Hint)
		}
	}
	if !b.SnapshotMayRemain || b.CooldownUntil.IsZero() {
		w.Errorf("snapshot may remain: %v, cool-down until %s", b.SnapshotMayRemain, b.CooldownUntil)
	}
	w.clean()
	return b
}

// TestClientKilledInMidCopy: the failure names the disk that it left, what is not complete, and what it never touched.
func TestClientKilledInMidCopy(t *testing.T) {
	w := goneWorld(t)
	w.putVM("vm", 8<<20, 8<<20, 8<<20)
	w.sna.Hold("copy/1")
	b := w.startBackup("vm")
	w.waitFor(b.ID, func(b record.Backup) bool { return b.Runs[1].Connected })
	must(t, w.sna.Kill(t.Context(), b.ID))
	b = w.isGone(b.ID, "connections to disk 1", "not complete: disk 1 (key 2001), disk 2 (key 2002)",
		"disk 2 (key 2002) was never connected to", "Transfer, ")
	if b.Failure.DiskID == nil || *b.Failure.DiskID != 1 {
		t.Errorf("the failure is of disk %v", b.Failure.DiskID)
	}
	if strings.Contains(b.Failure.Message, "disk 0") {
		t.Errorf("disk 0 was complete: %s", b.Failure.Message)
	}
	if got := b.Runs[0].ReceivedBytes; got < 8<<20 {
		t.Errorf("disk 0 of 8 MiB was copied whole, and %d bytes are on record", got)
	}
}

// TestClientThatDiesAtOnce: it came and went between two looks. What its disk received tells that it was there.
func TestClientThatDiesAtOnce(t *testing.T) {
	w := goneWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	must(t, w.sna.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	b := w.isGone(w.startBackup("vm").ID, "not complete: disk 0 (key 2000), disk 1 (key 2001)", "disk 1 (key 2001) was never connected to")
	if strings.Contains(b.Failure.Message, "disk 0 (key 2000) was never") {
		t.Errorf("disk 0 was half copied: %s", b.Failure.Message)
	}
}

// TestClientKilledBetweenDisks: then nobody is connected to anything, and that alone tells.
func TestClientKilledBetweenDisks(t *testing.T) {
	w := goneWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("disk/1")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "disk/1")
	must(t, err)
	must(t, w.sna.Kill(t.Context(), b.ID))
	b = w.isGone(b.ID, "no client has been connected to any export for", "disk 1 (key 2001) was never connected to", "vm.put")
	if b.Failure.DiskID != nil {
		t.Errorf("the failure is of disk %d", *b.Failure.DiskID)
	}
}

// TestClientLeavesWithoutAReport: a disk whose copy ended without a word, with the next one copied.
func TestClientLeavesWithoutAReport(t *testing.T) {
	w := goneWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	must(t, w.sna.SetFaults(snatest.Faults{SilentDisks: []int{0}}))
	w.isGone(w.startBackup("vm").ID, "connections to disk 0", "not complete: disk 0 (key 2000)", "larger in vCenter than on record")
}

// TestClientKilledWhileTheAgentIsAway: what the agent has seen of it is on record, and what it has not is learned.
func TestClientKilledWhileTheAgentIsAway(t *testing.T) {
	for point, words := range map[string]string{
		"copy/1":     "connections to disk 1",
		"disk/1":     "no client has been connected",
		"complete/1": "connections to disk 1",
	} {
		t.Run(strings.ReplaceAll(point, "/", " "), func(t *testing.T) {
			w := goneWorld(t)
			w.putVM("vm", 8<<20, 8<<20)
			w.sna.Hold(point)
			b := w.startBackup("vm")
			_, err := w.sna.WaitHeld(t.Context(), b.ID, point)
			must(t, err)
			if point != "disk/1" {
				w.waitFor(b.ID, func(b record.Backup) bool { return b.Runs[1].Connected })
			}
			w.stop()
			must(t, w.sna.Kill(t.Context(), b.ID))
			w.start()
			w.isGone(b.ID, words)
		})
	}
}

// TestClientConnectedWhileTheAgentWasAway: nobody saw it at disk 1. That nobody is connected tells all the same.
func TestClientConnectedWhileTheAgentWasAway(t *testing.T) {
	w := goneWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("disk/1")
	w.sna.Hold("copy/1")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "disk/1")
	must(t, err)
	w.stop()
	w.sna.Release("disk/1")
	_, err = w.sna.WaitHeld(t.Context(), b.ID, "copy/1")
	must(t, err)
	must(t, w.sna.Kill(t.Context(), b.ID))
	w.start()
	w.isGone(b.ID, "no client has been connected")
}

// TestClientKilledAfterItsLastReport: nothing of the copy is missing.
func TestClientKilledAfterItsLastReport(t *testing.T) {
	w := goneWorld(t)
	_, sources := w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("disconnect/1")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "disconnect/1")
	must(t, err)
	must(t, w.sna.Kill(t.Context(), b.ID))
	w.completes(b, sources)
}

// TestClientIsSlow: a client that takes its time between two disks, or before its report, is not gone; and a restart of the agent
// has the time begin anew.
func TestClientIsSlow(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := goneWorld(t)
		_, sources := w.putVM("vm", 8<<20, 8<<20, 8<<20)
		points := []string{"disk/1", "complete/1", "disk/2", "complete/2"}
		for _, point := range points {
			w.sna.Hold(point)
		}
		b := w.startBackup("vm")
		for _, point := range points {
			_, err := w.sna.WaitHeld(t.Context(), b.ID, point)
			must(t, err)
			time.Sleep(clientGone - time.Second) // the gap is what is tested
			if restart {
				w.stop()
				w.start()
				time.Sleep(clientGone - time.Second)
			}
			w.sna.Release(point)
		}
		w.completes(b, sources)
	}
}

// TestClientGoneSwitchedOff: then only the other deadlines count.
func TestClientGoneSwitchedOff(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.ClientGone, c.Deadlines.NoProgress = config.DurationOf(0), config.DurationOf(4*time.Second)
	})
	w.putVM("vm", 8<<20, 8<<20)
	must(t, w.sna.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	if b := w.wait(w.startBackup("vm").ID); b.State != record.Failed || b.Failure.Reason != string(agent.DeadlinePassed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
}
