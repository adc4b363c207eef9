package crashtest_test

import (
	"syscall"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// clientDeadlines are those by which a client that has ended is noticed: seconds here are the minute of production.
var clientDeadlines = map[string]string{
	"deadlines.first_report": `"6s"`, "deadlines.next_report": `"6s"`, "deadlines.client_gone": `"6s"`,
}

// slowDeadlines are for a client that is slow. slow is less than a deadline, and three times that is more: a busy machine may delay the
// client by the rest.
var slowDeadlines = map[string]string{
	"deadlines.first_report": `"14s"`, "deadlines.next_report": `"14s"`, "deadlines.client_gone": `"14s"`,
}

const slow = 5 * time.Second

// clientFaults are those of the backup client: it is killed at each point of its work, with a daemon that looks on and with one that
// is away meanwhile, and it is slow where it may be.
var clientFaults = []fault{
	clientKilled("in mid-copy", "copy/1", false, rpc.ReasonClientGone, "client is gone", "not complete: disk 1"),
	clientSlow("between two disks, for as long as nearly the deadline, three times", "disk/1", func(c *crash) {
		for range 3 {
			c.kill()
			c.boot()
			time.Sleep(slow) // within the deadline; together they are longer
		}
	}),
	clientKilled("before its login", "login", false, rpc.ReasonClientSilent, "has reported nothing to the SNA"),
	clientKilled("before its snapshot", "snapshot", false, rpc.ReasonClientSilent, "has reported nothing to the SNA"),
	clientKilled("after its snapshot", "disk/0", false, rpc.ReasonClientSilent, "Creating Snapshot, 15 %"),
	clientKilled("between two disks", "disk/1", false, rpc.ReasonClientGone, "disk 1 (key 2001) was never connected to"),
	clientKilled("before it reports a disk", "complete/1", false, rpc.ReasonClientGone, "not complete: disk 1"),
	clientKilled("before its login, without a daemon", "login", true, rpc.ReasonClientSilent, "has reported nothing to the SNA"),
	clientKilled("after its snapshot, without a daemon", "disk/0", true, rpc.ReasonClientSilent, "Creating Snapshot, 15 %"),
	clientKilled("in mid-copy, without a daemon", "copy/1", true, rpc.ReasonClientGone, "not complete: disk 1"),
	clientKilled("between two disks, without a daemon", "disk/1", true, rpc.ReasonClientGone, "disk 1 (key 2001) was never connected to"),
	clientKilled("before it reports a disk, without a daemon", "complete/1", true, rpc.ReasonClientGone, "not complete: disk 1"),
	clientKilledAfterTheLastReport("after its last report", false),
	clientKilledAfterTheLastReport("after its last report, without a daemon", true),
	clientSlow("in a gap between two disks", "disk/1", func(*crash) { time.Sleep(slow) }),
	clientClock("the clock set forward between two disks", 24*time.Hour),
	clientClock("the clock set back between two disks", -24*time.Hour),
	{
		name:    "client: its report waits, for longer than the deadline, because the database cannot be written",
		promise: "it is not taken for gone; completed",
		config:  clientDeadlines,
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			c.uncover = uncover
			b := c.midCopy()
			state.failDatabase(opWrite, syscall.ENOSPC)
			c.release()
			c.daemon.says("the record cannot be written")
			time.Sleep(8 * time.Second)
			if got := c.now(b.BackupID).State; got != rpc.Running {
				c.Errorf("while the report waits the backup is %s", got)
			}
			state.heal()
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
}

// clientKilled has the client killed at a point of its work, while the daemon looks on or while there is none.
func clientKilled(when, point string, away bool, reason rpc.Reason, words ...string) fault {
	return fault{
		name:    "client killed " + when,
		promise: "failed in seconds, with what is not complete and what the client last said; cool-down; nothing left",
		config:  clientDeadlines,
		act: func(c *crash) {
			id := c.client.at(point)
			c.client.kills(id, away)
			c.fails(id, reason, words...)
			b := c.now(id)
			if atWork := point != "login" && point != "snapshot"; b.SnapshotMayRemain != atWork || b.CooldownUntil.IsZero() {
				c.Errorf("snapshot may remain: %v; cool-down until %s", b.SnapshotMayRemain, b.CooldownUntil)
			}
		},
		becomes: "failed",
	}
}

func clientKilledAfterTheLastReport(when string, away bool) fault {
	return fault{
		name:    "client killed " + when,
		promise: "every disk is there: completed",
		config:  clientDeadlines,
		act: func(c *crash) {
			id := c.client.at("disconnect/1")
			c.client.kills(id, away)
			c.untilState(id, rpc.Completed)
		},
		becomes: "completed",
	}
}

// clientSlow has something happen while the client is at a point, and goes on afterwards.
func clientSlow(when, point string, meanwhile func(*crash)) fault {
	return fault{
		name:    "client slow " + when,
		promise: "no false alarm: completed",
		config:  slowDeadlines,
		act: func(c *crash) {
			id := c.client.at(point)
			meanwhile(c)
			c.sna.Release(point)
			c.untilState(id, rpc.Completed)
		},
		becomes: "completed",
	}
}

func clientClock(what string, by time.Duration) fault {
	return fault{
		name:    "client: " + what,
		promise: "no deadline moves: completed",
		config:  slowDeadlines,
		act: func(c *crash) {
			set := c.clock()
			id := c.client.at("disk/1")
			set(by)
			time.Sleep(time.Second) // one look at the least
			c.sna.Release("disk/1")
			c.untilState(id, rpc.Completed)
		},
		becomes: "completed",
	}
}

// at brings the daemon up, and the client of the backup to a point of its work.
func (c clientSteps) at(point string) (id string) {
	c.Helper()
	c.sna.Hold(point)
	c.daemon.up()
	id = c.begins()
	ctx, cancel := c.limit()
	defer cancel()
	_, err := c.sna.WaitHeld(ctx, id, point)
	must(c.T, err)
	c.eventually("the backup follows its client", func() bool {
		state := c.now(id).State
		return state == rpc.Running || state == rpc.Finishing
	})
	return id
}

// kills kills it, with the daemon away if that is asked for. The next client is not held anywhere.
func (c clientSteps) kills(id string, away bool) {
	c.Helper()
	if away {
		c.kill()
	}
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.sna.Kill(ctx, id))
	for _, point := range c.sna.State().Held {
		c.sna.Release(point)
	}
	if away {
		c.boot()
	}
}
