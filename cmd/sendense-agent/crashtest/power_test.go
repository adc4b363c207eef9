package crashtest_test

import (
	"flag"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/sendense-agent/crashtest/powerloss"
)

var (
	power  = flag.String("power", "sample", "how much of TestPowerLoss is done. sample: a full backup and a deletion; all: each operation")
	lots   = flag.Int("lots", 1, "how many losses by lot TestPowerLoss tries after each operation of a file system")
	starts = flag.Int("starts", 8, "TestPowerLoss starts a daemon on one of so many kinds of states; 1: on all; 0: on none")
)

// TestPowerLoss takes the power away at every moment of what the agent does. Whatever the disk then keeps of that which no
// fsync covers: the database is sound, what the world was told is true, every manifest is that of a whole restore point, and a
// daemon that starts there brings everything to its end, without asking the SNA again.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		if op.name == "stray lease" || op.name == "database of an older version" {
			continue // the preparation maps the database into this process, which has to answer for the file system
		}
		if *power == "sample" && op.name != "full" && op.name != "delete what was set aside" {
			continue
		}
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			c, log := tapeOf(t, op)
			i := newInspector(c)
			interest := everywhere
			if *power == "sample" {
				interest = outsideImages
			}
			err := i.walk(log, interest, func(m moment) error {
				if err := i.check(m.state, m.facts); err != nil {
					return err
				}
				if m.isEdge() && *starts > 0 {
					return i.restart(m)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			powerResults.add(powerRow{op.name, len(log.Ops), i.states, i.starts, time.Since(began)})
		})
	}
}

// tapeOf does an operation, undisturbed, and returns what was taken down.
func tapeOf(t *testing.T, op operation) (*crash, powerloss.Log) {
	tape := &tape{}
	if prepare := op.prepare; prepare != nil {
		op.prepare = func(c *crash) {
			prepare(c)
			tape.mark(notice{kind: isBegun})
		}
	} else {
		tape.mark(notice{kind: isBegun})
	}
	c := newTapedCrash(t, op, tape)
	c.ready()
	c.until(op.act)
	c.release()
	ctx, cancel := c.limit()
	defer cancel()
	must(t, c.ended(ctx))
	c.halt()
	tape.stop()
	must(t, c.sna.SetFaults(snatest.Faults{}))
	log := tape.Log()
	tape.eject(c.hub)
	return c, log
}
