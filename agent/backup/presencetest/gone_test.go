package presencetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func goneWorld(t *testing.T) *agenttest.World {
	return agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.ClientGone = config.DurationOf(agenttest.ClientGone)
	})
}

// TestClientKilledInMidCopy: the error names the disk that the client left, the disks that are not complete, and those that it
// never connected to.
func TestClientKilledInMidCopy(t *testing.T) {
	t.Parallel()
	w := goneWorld(t)
	w.PutVM("vm", 8<<20, 8<<20, 8<<20)
	w.SNA.Hold("copy/1")
	b := w.StartBackup("vm")
	w.WaitFor(b.ID, func(b record.Backup) bool { return b.Runs[1].Connected })
	agenttest.Must(t, w.SNA.Kill(t.Context(), b.ID))
	b = w.IsGone(b.ID, "connections to disk 1", "not complete: disk 1 (key 2001), disk 2 (key 2002)",
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

// TestClientThatDiesAtOnce: the client connected and left between two checks. The data that its disk received shows that it was
// there.
func TestClientThatDiesAtOnce(t *testing.T) {
	t.Parallel()
	w := goneWorld(t)
	w.PutVM("vm", 8<<20, 8<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	b := w.IsGone(w.StartBackup("vm").ID, "not complete: disk 0 (key 2000), disk 1 (key 2001)", "disk 1 (key 2001) was never connected to")
	if strings.Contains(b.Failure.Message, "disk 0 (key 2000) was never") {
		t.Errorf("disk 0 was half copied: %s", b.Failure.Message)
	}
}

// TestClientKilledBetweenDisks: no client is connected to any export, and that alone shows it.
func TestClientKilledBetweenDisks(t *testing.T) {
	t.Parallel()
	w := goneWorld(t)
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("disk/1")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "disk/1")
	agenttest.Must(t, err)
	agenttest.Must(t, w.SNA.Kill(t.Context(), b.ID))
	b = w.IsGone(b.ID, "no client has been connected to any export for", "disk 1 (key 2001) was never connected to", "vm.put")
	if b.Failure.DiskID != nil {
		t.Errorf("the failure is of disk %d", *b.Failure.DiskID)
	}
}

// TestClientLeavesWithoutAReport: the copy of one disk ended without a report, and the next one was copied.
func TestClientLeavesWithoutAReport(t *testing.T) {
	t.Parallel()
	w := goneWorld(t)
	w.PutVM("vm", 8<<20, 8<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{SilentDisks: []int{0}}))
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	w.WaitFor(b.ID, func(b record.Backup) bool { return b.Runs[0].Connected }) // a copy that is over between two looks tells less
	w.SNA.Release("copy/0")
	w.IsGone(b.ID, "connections to disk 0", "not complete: disk 0 (key 2000)", "larger in vCenter than on record")
}

// TestClientKilledWhileTheAgentIsAway: what the agent saw of the client is on record, and it finds out the rest.
func TestClientKilledWhileTheAgentIsAway(t *testing.T) {
	t.Parallel()
	for point, words := range map[string]string{
		"copy/1":     "connections to disk 1",
		"disk/1":     "no client has been connected",
		"complete/1": "connections to disk 1",
	} {
		t.Run(strings.ReplaceAll(point, "/", " "), func(t *testing.T) {
			t.Parallel()
			w := goneWorld(t)
			w.PutVM("vm", 8<<20, 8<<20)
			w.SNA.Hold(point)
			b := w.StartBackup("vm")
			_, err := w.SNA.WaitHeld(t.Context(), b.ID, point)
			agenttest.Must(t, err)
			if point != "disk/1" {
				w.WaitFor(b.ID, func(b record.Backup) bool { return b.Runs[1].Connected })
			}
			w.Stop()
			agenttest.Must(t, w.SNA.Kill(t.Context(), b.ID))
			w.Start()
			w.IsGone(b.ID, words)
		})
	}
}

// TestClientConnectedWhileTheAgentWasAway: the agent did not see the client at disk 1. The missing connections show the end of the
// client all the same.
func TestClientConnectedWhileTheAgentWasAway(t *testing.T) {
	t.Parallel()
	w := goneWorld(t)
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("disk/1")
	w.SNA.Hold("copy/1")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "disk/1")
	agenttest.Must(t, err)
	w.Stop()
	w.SNA.Release("disk/1")
	_, err = w.SNA.WaitHeld(t.Context(), b.ID, "copy/1")
	agenttest.Must(t, err)
	agenttest.Must(t, w.SNA.Kill(t.Context(), b.ID))
	w.Start()
	w.IsGone(b.ID, "no client has been connected")
}

// TestClientKilledAfterItsLastReport: the copy is complete.
func TestClientKilledAfterItsLastReport(t *testing.T) {
	t.Parallel()
	w := goneWorld(t)
	_, sources := w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("disconnect/1")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "disconnect/1")
	agenttest.Must(t, err)
	agenttest.Must(t, w.SNA.Kill(t.Context(), b.ID))
	w.Completes(b, sources)
}

// TestClientIsSlow: a client that pauses between two disks, or before its report, is not gone. A restart of the agent starts the
// deadline again: two pauses are longer than it.
func TestClientIsSlow(t *testing.T) {
	for name, restart := range map[string]bool{"one agent": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			untilPunctual(t, 6*time.Second, func(deadline time.Duration) (*agenttest.World, *slowClient) {
				w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Deadlines.ClientGone = config.DurationOf(deadline) })
				return w, pausesAt(w, []string{"disk/1", "complete/1"}, func(sign func()) {
					pause := deadline/2 + 500*time.Millisecond
					time.Sleep(pause) // the gap is what is tested
					if restart {
						w.Stop()
						w.Start()
						sign()
						time.Sleep(pause)
					}
				}, 8<<20, 8<<20)
			})
		})
	}
}

// TestClientGoneSwitchedOff: only the other deadlines count.
func TestClientGoneSwitchedOff(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.ClientGone, c.Deadlines.NoProgress = config.DurationOf(0), config.DurationOf(4*time.Second)
	})
	w.PutVM("vm", 8<<20, 8<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	if b := w.Wait(w.StartBackup("vm").ID); b.State != record.Failed || b.Failure.Reason != string(fault.DeadlinePassed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
}
