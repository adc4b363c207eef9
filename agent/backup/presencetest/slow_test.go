package presencetest_test

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/record"
)

// A slowClient is a backup whose client pauses.
type slowClient struct {
	backup  record.Backup
	sources []string
	longest time.Duration // between two signs of life of the client, or more
}

// pausesAt backs up a VM with disks of the sizes, and pauses when the client is held at each point.
func pausesAt(w *agenttest.World, points []string, pause func(sign func()), sizes ...int64) *slowClient {
	c := &slowClient{}
	_, c.sources = w.PutVM("vm", sizes...)
	for _, point := range points {
		w.SNA.Hold(point)
	}
	last := time.Now()
	sign := func() { c.longest, last = max(c.longest, time.Since(last)), time.Now() }
	c.backup = w.StartBackup("vm")
	for _, point := range points {
		ended := false
		w.Eventually("the client is at "+point, func() bool {
			b, err := w.Agent.Records.Backup(c.backup.ID)
			agenttest.Must(w.TB, err)
			run, known := w.SNA.State().Run(b.ID)
			ended = b.State.Terminal()
			return ended || known && run.HeldAt == point
		})
		sign()
		if !ended {
			pause(sign)
			w.SNA.Release(point)
		}
	}
	c.backup = w.Wait(c.backup.ID)
	sign()
	return c
}

// untilPunctual tries a client that pauses for less than a deadline. Its backup must complete. If the machine is so busy that the client
// missed the deadline, it is tried again with twice the time.
func untilPunctual(t *testing.T, deadline time.Duration, try func(deadline time.Duration) (*agenttest.World, *slowClient)) {
	for ; ; deadline *= 2 {
		w, c := try(deadline)
		if c.backup.State == record.Completed {
			w.Completes(c.backup, c.sources)
			return
		}
		if c.longest < deadline {
			t.Fatalf("the client was silent for %s at most, and with a deadline of %s its backup is %s: %+v", c.longest, deadline, c.backup.State, c.backup.Failure)
		}
		t.Logf("the client was silent for up to %s, with a deadline of %s: again with twice the time", c.longest, deadline)
	}
}
