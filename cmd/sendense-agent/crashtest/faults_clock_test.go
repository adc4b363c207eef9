package crashtest_test

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// clockFaults set the daemon's clock while it runs.
//
// The clock of a machine cannot be set for one namespace alone, and that of the host is not a test's to set. So the daemon is
// built with a package time whose wall clock is off by what a file says (testdata/skew.go, by the go tool's -overlay).
// What the daemon sees is what settimeofday would do to it: every wall clock time in the process jumps, the monotonic one,
// timers and time-outs do not. Not covered: the kernel's own stamps on files, and systemd's and qemu-nbd's clocks, none of
// which the agent compares with its own.
var clockFaults = []fault{
	clockFault("clock set forward a year in mid-copy", 365*24*time.Hour),
	clockFault("clock set back a year in mid-copy", -365*24*time.Hour),
	{
		name:    "clock set back between backups",
		promise: "each incremental stands on what its change ids come from; every image is what its disk was",
		act: func(c *crash) {
			set := c.clock()
			c.restorePoint()
			set(-time.Hour)
			c.request.BackupType = rpc.Incremental
			first := c.request
			for _, id := range []string{"between-1", "between-2"} {
				c.request.RequestID = id
				c.begins()
				c.allEnd()
				must(c.T, c.scribble())
			}
			c.request = first
			c.begins()
		},
		becomes: "completed",
	},
	{
		name:    "clock set back while a VM cools down",
		promise: "it rests no longer than sna.cooldown from then on",
		act: func(c *crash) {
			set := c.clock()
			must(c.T, c.sna.SetFaults(snatest.Faults{Answer: snatest.AnswerReset, Inert: true}))
			c.up()
			id := c.outcomeUnknown()
			c.cancels(id)
			set(-24 * time.Hour)
		},
		becomes: "cancelled",
	},
	{
		name:    "clock set forward while a VM cools down",
		promise: "it rests all the same",
		config:  map[string]string{"sna.cooldown": `"5s"`},
		act: func(c *crash) {
			set := c.clock()
			must(c.T, c.sna.SetFaults(snatest.Faults{Answer: snatest.AnswerReset, Inert: true}))
			c.up()
			id := c.outcomeUnknown()
			c.cancels(id)
			set(24 * time.Hour)
			first := c.request
			c.request.RequestID = "too early"
			c.refused(rpc.ReasonCoolingDown)
			c.request = first
		},
		becomes: "cancelled",
	},
}

func clockFault(name string, by time.Duration) fault {
	return fault{
		name:    name,
		promise: "no deadline moves; completed",
		config:  map[string]string{"deadlines.whole_run": `"1h"`},
		act: func(c *crash) {
			set := c.clock()
			b := c.midCopy()
			set(by)
			c.release()
			c.untilState(b.BackupID, rpc.Completed)
			ended := c.now(b.BackupID).EndedAt
			if off := ended.Sub(time.Now().Add(by)).Abs(); off > time.Hour {
				c.Errorf("the daemon's clock was not set: it says that the backup ended at %s", ended)
			}
		},
		becomes: "completed",
	}
}

// clock has the next daemon look at a clock that can be set.
func (c *crash) clock() (set func(by time.Duration)) {
	c.Helper()
	path := c.run + "/clock"
	must(c.T, os.WriteFile(path, make([]byte, 8), 0o600))
	c.environment("SENDENSE_CLOCK=" + path)
	return func(by time.Duration) {
		c.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(c.T, err)
		defer f.Close()
		_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second))), 0)
		must(c.T, err)
	}
}

func (c *crash) cancels(id string) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) error {
		_, err := client.CancelBackup(ctx, id)
		return err
	}))
}
