package crashtest_test

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	{
		name:    "clock five years ahead for one backup, right when the policies are applied",
		promise: "it costs no other restore point its place; the next incremental stands on what was made last",
		act: func(c *crash) {
			set := c.clock()
			c.policy("keep_within = \"30d\"")
			ahead := c.wrongOnce(set, 5*365*24*time.Hour)
			report := c.points.prunes()
			if len(report.Points) != 1 || report.Points[0].BackupID != ahead || report.Points[0].Misdated == "" || report.KeptCount != 5 {
				c.Errorf("the prune did %+v", report)
			}
			if b := c.now(ahead); !b.FutureDated {
				c.Errorf("%+v", b)
			}
		},
		becomes: "completed",
	},
	clockFault("clock set forward a year in mid-copy", 365*24*time.Hour),
	clockFault("clock set back a year in mid-copy", -365*24*time.Hour),
	{
		name:    "clock set back between backups",
		promise: "each incremental stands on what its change ids come from; every image is what its disk was",
		act: func(c *crash) {
			set := c.clock()
			c.points.make()
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
			c.daemon.up()
			id := c.client.outcomeUnknown()
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
			c.daemon.up()
			id := c.client.outcomeUnknown()
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

// The faults of the clock that what is removed, or verified, depends on.
var datedFaults = []fault{
	{
		name:    "clock decades behind for one backup, right when the policies are applied",
		promise: "it is not removed as the oldest, and is what the next incremental may stand on",
		act: func(c *crash) {
			set := c.clock()
			c.policy("keep_last = 2")
			behind := c.wrongOnce(set, -20*365*24*time.Hour)
			report := c.points.prunes()
			if report.RemovedCount != 2 || report.KeptCount != 3 || c.now(behind).State != rpc.Completed {
				c.Errorf("the prune did %+v", report)
			}
		},
		becomes: "completed",
	},
	{
		name:    "clock five years ahead for a backup and the daily prune",
		promise: "the daily prune is held, and removes nothing; nor does one when the clock is right again",
		act: func(c *crash) {
			set := c.clock()
			c.policy("keep_within = \"30d\"")
			const ahead = 5 * 365 * 24 * time.Hour
			c.set("prune.at", time.Now().Add(ahead+2*time.Hour).Format(`"15:04"`))
			c.daemon.up()
			c.points.fulls(5)
			set(ahead)
			c.points.fulls(1)
			set(ahead + 2*time.Hour + time.Minute) // it is past the time of day
			c.eventually("the prune is held", func() bool {
				held := c.status().HeldPrunes
				return len(held) == 1 && held[0].RemovedCount == 5 && held[0].PointCount == 6
			})
			set(0)
			if report := c.points.prunesNext(); report.RemovedCount != 0 || report.KeptCount != 6 || len(c.status().HeldPrunes) != 0 {
				c.Errorf("the prune did %+v", report)
			}
			c.begins()
		},
		becomes: "completed",
	},
	{
		name:    "clock five years ahead during a verification",
		promise: "the restore point is verified again when the clock is right",
		act: func(c *crash) {
			set := c.clock()
			c.daemon.up()
			const ahead = 5 * 365 * 24 * time.Hour
			set(ahead)
			id := c.begins()
			c.untilState(id, rpc.Completed)
			deep := func(around time.Time) func() bool {
				return func() bool {
					v := c.now(id).Verified
					return v != nil && v.DeepAt.Sub(around).Abs() < time.Hour
				}
			}
			if r := c.points.verifies(id); r.Result != rpc.VerifyOK || !deep(time.Now().Add(ahead))() {
				c.Errorf("%+v, on record %+v", r, c.now(id).Verified)
			}
			set(0)
			c.halt()
			c.boot() // the schedule looks at once
			c.eventually("it is verified again", deep(time.Now()))
		},
		becomes: "completed",
	},
}

// prunesNext applies the policies once they are not being applied any more.
func (c pointSteps) prunesNext() (report rpc.PruneReport) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	c.eventually("the policies can be applied", func() bool {
		err := c.with(ctx, func(client *rpc.Client) (err error) {
			report, err = client.Prune(ctx, rpc.PruneRequest{})
			return err
		})
		var said *rpc.Error
		if busy := errors.As(err, &said) && said.Data.Reason == rpc.ReasonBusy; busy {
			return false
		}
		must(c.T, err)
		return true
	})
	return report
}

// wrongOnce makes four restore points, and has the clock be wrong for the third. The backup that is asked for then
// is an incremental, which must stand on the last of them, and completes.
func (c *crash) wrongOnce(set func(time.Duration), by time.Duration) (id string) {
	c.Helper()
	c.daemon.up()
	c.points.fulls(2)
	set(by)
	id = c.points.fulls(1)
	set(0)
	last := c.points.fulls(1)
	c.request.BackupType = rpc.Incremental
	next := c.begins()
	c.untilState(next, rpc.Completed)
	if b := c.now(next); b.ParentBackupID != last {
		c.Errorf("the incremental stands on %s, want %s, which was made last", b.ParentBackupID, last)
	}
	return id
}

// fulls makes full backups beside that which is tried, and returns the id of the last.
func (c pointSteps) fulls(n int) (id string) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	for range n {
		c.made++
		var err error
		id, err = c.start(ctx, rpc.StartRequest{VMName: c.request.VMName, BackupType: rpc.Full, RequestID: fmt.Sprint("full ", c.made)})
		must(c.T, err)
		c.untilState(id, rpc.Completed)
		must(c.T, c.scribble())
	}
	return id
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
