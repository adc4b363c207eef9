package crashtest_test

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// stateFaults are those of the state directory, where the database lies.
var stateFaults = []fault{
	stateFault("state directory: ENOSPC in mid-copy", opWrite, syscall.ENOSPC),
	stateFault("state directory: EIO on writes in mid-copy", opWrite, syscall.EIO),
	stateFault("state directory: EIO on syncs in mid-copy", opSync, syscall.EIO),
	stateFault("state directory: EROFS in mid-copy", opWrite, syscall.EROFS),
	stateFaultAtStart("state directory: ENOSPC at a start", opWrite, syscall.ENOSPC),
	stateFaultAtStart("state directory: EROFS at a start", opWrite, syscall.EROFS),
	{
		name:    "state directory: ENOSPC when the daemon starts in mid-copy",
		promise: "it takes the copy up; completed when there is room, without another restart",
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			c.uncover = uncover
			b := c.midCopy()
			c.kill()
			state.failDatabase(opWrite, syscall.ENOSPC)
			c.boot()
			c.release()
			c.daemon.says("the record cannot be written")
			state.heal()
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
	{
		name:    "state directory: each sync takes half a second",
		promise: "everything takes longer; completed",
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			c.uncover = uncover
			state.failWhen(func(operation, path string) syscall.Errno {
				if operation == opSync && strings.HasPrefix(path, "agent.db") {
					time.Sleep(500 * time.Millisecond)
				}
				return 0
			})
			b := c.midCopy()
			c.release()
			c.untilState(b.BackupID, rpc.Completed)
			state.heal()
		},
		becomes: "completed",
	},
	{
		name:    "state directory: does not answer in mid-copy",
		promise: "the copy goes on; status is answered within five seconds, and says why nothing starts; completed when it answers",
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			c.uncover = uncover
			b := c.midCopy()
			answers := make(chan struct{})
			answer := sync.OnceFunc(func() { close(answers) })
			c.Cleanup(answer)
			state.failWhen(func(operation, path string) syscall.Errno {
				if operation == opSync && strings.HasPrefix(path, "agent.db") {
					<-answers
				}
				return 0
			})
			c.release()
			c.daemon.saysReady("does not answer")
			for range 3 {
				began := time.Now()
				c.daemon.saysReady("does not answer")
				if took := time.Since(began); took > 5*time.Second+busy {
					c.Errorf("status took %s", took)
				}
				if got := c.now(b.BackupID).State; got != rpc.Running {
					c.Errorf("while the directory does not answer the backup is %s", got)
				}
			}
			state.heal()
			answer()
			c.daemon.saysReady("")
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
	stateFaultAtStart("state directory: EIO on writes at a start", opWrite, syscall.EIO),
	stateFaultAtStart("state directory: EIO on syncs at a start", opSync, syscall.EIO),
	{
		name:    "state directory: EIO on the last sync of a start",
		promise: "refused, and what stands in the database all the same is undone at once",
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			c.uncover = uncover
			c.daemon.up()
			state.failWhen(func(operation, path string) syscall.Errno {
				// bbolt's headers, by which a commit is found, are its first two pages.
				if operation == opSync && path == "agent.db" && state.written.Load() < 2*int64(os.Getpagesize()) {
					return syscall.EIO
				}
				return 0
			})
			c.refused(rpc.ReasonStateUnwritable, syscall.EIO.Error())
			state.heal()
			c.allEnd()
			if n := len(c.sna.State().Posts); n != 0 {
				c.Errorf("the SNA was asked %d times", n)
			}
		},
		becomes: "failed",
	},
}

// stateFault has the database refuse everything while the copy goes on to its end.
func stateFault(name, operation string, errno syscall.Errno) fault {
	return fault{
		name:    name,
		promise: "what the client reports waits until it can be recorded, and show and readiness say why; completed without a restart",
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			b := c.midCopy()
			state.failDatabase(operation, errno)
			c.release()
			c.daemon.says("the record cannot be written")
			if got := c.now(b.BackupID).State; got != rpc.Running {
				c.Errorf("while the database cannot be written the backup is %s", got)
			}
			c.eventually("the backup says why it does not go on", func() bool {
				return strings.Contains(c.now(b.BackupID).Stalled, errno.Error())
			})
			c.daemon.saysReady(errno.Error())
			state.heal()
			c.daemon.saysReady("")
			c.untilState(b.BackupID, rpc.Completed)
			c.uncover = uncover
		},
		becomes: "completed",
	}
}

// stateFaultAtStart has the database refuse the record of a new backup.
func stateFaultAtStart(name, operation string, errno syscall.Errno) fault {
	return fault{
		name:    name,
		promise: "refused as state_unwritable, in the system's words, not ready meanwhile; nothing is left that stands in the way when it is repeated",
		act: func(c *crash) {
			state, uncover := c.faulty(c.dir + "/state")
			c.uncover = uncover
			c.daemon.up()
			state.failDatabase(operation, errno)
			said := c.refused(rpc.ReasonStateUnwritable, errno.Error())
			if !strings.Contains(said.Hint, c.dir+"/state") {
				c.Errorf("the hint does not name the directory: %s", said.Hint)
			}
			c.daemon.saysReady(errno.Error())
			state.heal()
			c.daemon.saysReady("")
			c.allEnd()
		},
		becomes: "none",
	}
}

// saysReady waits until the daemon says that nothing can be put on record, in words that hold those given, or, without any, that it can.
func (c daemonSteps) saysReady(words string) {
	c.Helper()
	c.eventually("readiness follows whether a transaction can be written", func() bool {
		ctx, cancel := c.limit()
		defer cancel()
		var status rpc.AgentStatus
		must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
			status, err = client.Status(ctx)
			return err
		}))
		return (status.State.Error != "") == (words != "") && strings.Contains(status.State.Error, words)
	})
}

// failDatabase fails one operation on the database.
func (d *faultyDir) failDatabase(operation string, errno syscall.Errno) {
	d.failWhen(func(o, path string) syscall.Errno {
		if o == operation && strings.HasPrefix(path, "agent.db") {
			return errno
		}
		return 0
	})
}
