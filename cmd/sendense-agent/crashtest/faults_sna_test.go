package crashtest_test

import (
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// snaFaults are those of the SNA's answer. Time-outs are scaled: seconds here are the minutes of production.
var snaFaults = []fault{
	{
		name:    "SNA accepts, the answer is lost",
		promise: "told as sna_outcome_unknown; goes on when its client appears; never asked again",
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Answer: snatest.AnswerReset})
			c.client.outcomeUnknown()
		},
		becomes: "completed",
	},
	{
		name:    "SNA accepts, the answer is cut off",
		promise: "told as sna_outcome_unknown: half an answer is none; goes on; never asked again",
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Answer: snatest.AnswerTruncated})
			c.client.outcomeUnknown()
		},
		becomes: "completed",
	},
	{
		name:    "SNA accepts in time, the answer comes after the time-out",
		promise: "told as sna_outcome_unknown when the time-out has passed; goes on; never asked again",
		config:  map[string]string{"sna.start_timeout": `"1s"`},
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Answer: snatest.AnswerHang})
			c.client.outcomeUnknown()
		},
		becomes: "completed",
	},
	{
		name:    "SNA begins only after the client's time-out",
		promise: "unresolved until the late client connects, then it goes on",
		config:  map[string]string{"sna.start_timeout": `"1s"`},
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Delay: 3 * time.Second, Late: true})
			id := c.client.outcomeUnknown()
			c.untilState(id, rpc.Running)
		},
		becomes: "completed",
	},
	{
		name:    "SNA begins after the first-connection deadline",
		promise: "failed and nothing left; the late client finds no export, and none of a newer run",
		config:  map[string]string{"sna.start_timeout": `"1s"`, "sna.cooldown": `"6s"`, "deadlines.first_connection": `"2s"`},
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Delay: 5 * time.Second, Late: true})
			id := c.client.outcomeUnknown()
			c.fails(id, rpc.ReasonDeadlinePassed)
			c.eventually("the late client gives up", func() bool { return c.client.hasEnded(id) })
		},
		becomes: "failed",
	},
	{
		name:    "SNA answers 500 and has begun",
		promise: "failed in the SNA's own words; the client loses its exports and gives up",
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Answer: snatest.AnswerFail, Status: 500, Text: "process table full"})
			c.refused(rpc.ReasonSNARefused, "process table full")
			must(c.T, c.sna.SetFaults(snatest.Faults{}))
			b := c.victimNow()
			c.sna.Release("login") // it comes when the exports have gone
			c.eventually("its client gives up", func() bool { return c.client.hasEnded(b.BackupID) })
		},
		becomes: "failed",
	},
	{
		name:    "SNA answers slowly, within the time-out",
		promise: "waited for, asked once; other callers are answered meanwhile",
		config:  map[string]string{"sna.start_timeout": `"30s"`},
		act: func(c *crash) {
			c.client.snaHas(snatest.Faults{Delay: 3 * time.Second})
			answer := c.started()
			c.eventually("the SNA is being asked", func() bool { return len(c.sna.State().Posts) == 1 })
			if b := c.victimNow(); b.State != rpc.Calling {
				c.Errorf("while the SNA is asked the backup is %s", b.State)
			}
			must(c.T, <-answer)
			must(c.T, c.sna.SetFaults(snatest.Faults{}))
			c.sna.Release("login")
		},
		becomes: "completed",
	},
}

// snaHas brings the daemon up beside an SNA that has faults. Nobody sees its client before the hold at its login is released.
func (c clientSteps) snaHas(f snatest.Faults) {
	c.Helper()
	c.sna.Hold("login")
	must(c.T, c.sna.SetFaults(f))
	c.daemon.up()
}

// outcomeUnknown asks for the backup. Nobody can know whether it has begun. The SNA is sound from then on.
func (c clientSteps) outcomeUnknown() (id string) {
	c.Helper()
	id = c.refused(rpc.ReasonSNAOutcomeUnknown).BackupID
	must(c.T, c.sna.SetFaults(snatest.Faults{}))
	c.sna.Release("login")
	return id
}

// hasEnded says whether the client of a backup has come and gone.
func (c clientSteps) hasEnded(id string) bool {
	run, found := c.sna.State().Run(id)
	return found && run.Done
}

// victimNow is the backup of the request as it is now.
func (c *crash) victimNow() rpc.Backup {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	b := c.victim(ctx)
	if b == nil {
		c.Fatal("the request has made no backup")
	}
	return *b
}
