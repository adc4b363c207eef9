package crashtest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/rpc"
)

// databaseFaults are those of the database that a daemon finds at its start, with a copy under way.
var databaseFaults = []fault{
	{
		name:    "database locked by another process",
		promise: "the daemon does not start and names the holder; the copy goes on; completed when it starts again",
		act: func(c *crash) {
			b := c.copyWithoutDaemon()
			db, err := os.OpenFile(c.db.path(), os.O_RDWR, 0)
			must(c.T, err)
			must(c.T, syscall.Flock(int(db.Fd()), syscall.LOCK_EX))
			before := c.untouched(b)
			c.daemon.refusesToStart("agent.db: locked by crashtest.test")
			c.same(before)
			must(c.T, db.Close())
			c.goesOn(b)
		},
		becomes: "completed",
	},
	{
		name:    "database of a newer version",
		promise: "the daemon does not start and says what to install; nothing is touched; completed with the right one",
		act: func(c *crash) {
			b := c.copyWithoutDaemon()
			version := c.db.schemaVersion("1000")
			before := c.untouched(b)
			c.daemon.refusesToStart("schema version 1000, this agent knows versions up to")
			c.daemon.says("install the newer agent again")
			c.same(before)
			c.db.schemaVersion(version)
			c.goesOn(b)
		},
		becomes: "completed",
	},
	headerFault("database: first header page zeroed in mid-copy", 0),
	headerFault("database: second header page zeroed in mid-copy", 1),
	{
		name:    "database: header page zeroed that tells that the SNA was asked",
		promise: "opened by the other one, which tells it too; the SNA is not asked again; completed",
		act: func(c *crash) {
			c.sna.Hold("login")
			c.stopAt("after call")
			c.daemon.up()
			c.until(begin)
			c.eventually("the SNA was asked", c.reached)
			c.kill()
			c.db.zeroHeader(c.db.newestHeader())
			must(c.T, os.Remove(c.sign()))
			c.environment()
			c.boot()
			c.daemon.says("the other one is used")
			c.sna.Release("login")
			c.allEnd()
			if n := len(c.sna.State().Posts); n != 1 {
				c.Errorf("the SNA was asked %d times", n)
			}
		},
		becomes: "completed",
	},
	{
		name:    "database truncated",
		promise: "set aside and named; catalog made again; what ran is undone; earlier restore points stay",
		act: func(c *crash) {
			afterFull(c)
			c.boot()
			b := c.held()
			c.kill()
			info, err := os.Stat(c.db.path())
			must(c.T, err)
			must(c.T, os.Truncate(c.db.path(), info.Size()/2))
			c.boot()
			c.daemon.says("the database is damaged")
			c.allEnd()
			c.eventually("the exports of the lost backup are gone", func() bool {
				left, err := exporterUnits(c.vm.record.VMName)
				return err == nil && len(left) == 0
			})
			if got := c.now(b.BackupID); got.State != rpc.Failed {
				c.Errorf("the backup that ran is %s", got.State)
			}
			c.release()
		},
		becomes: "none", // its request id went with the database
	},
}

// headerFault takes one of the two pages away that describe where everything is: the ordinary damage of a page that is torn.
func headerFault(name string, page int) fault {
	return fault{
		name:    name,
		promise: "opened by the other one, and said; the damaged file is kept; the copy goes on, completed",
		act: func(c *crash) {
			b := c.midCopy()
			c.halt() // not killed: see headerZeroed
			c.db.zeroHeader(page)
			was, err := os.ReadFile(c.db.path())
			must(c.T, err)
			c.goesOn(b)
			c.daemon.says("the other one is used")
			kept, _ := filepath.Glob(c.db.path() + ".damaged-*")
			if len(kept) != 1 {
				c.Fatalf("kept: %q", kept)
			}
			if text, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(text, was) {
				c.Errorf("%s is not the damaged file: %v", kept[0], err)
			}
			if n := len(c.sna.State().Posts); n != 1 {
				c.Errorf("the SNA was asked %d times", n)
			}
		},
		becomes: "completed",
	}
}

func (c databaseSteps) path() string { return c.dir + "/state/agent.db" }

// copyWithoutDaemon is a backup in mid-copy whose daemon has been killed.
func (c *crash) copyWithoutDaemon() rpc.Backup {
	c.Helper()
	b := c.midCopy()
	c.kill()
	return b
}

// goesOn starts the daemon, which takes the backup up.
func (c *crash) goesOn(b rpc.Backup) {
	c.Helper()
	_, _ = systemctl("reset-failed", serviceOf(c.slot)) // it has failed to start
	c.boot()
	c.release()
	c.untilState(b.BackupID, rpc.Completed)
}

// belongings are what a daemon that cannot run must leave alone.
type belongings struct {
	database []byte
	units    []string
	pids     []int
}

func (c *crash) untouched(b rpc.Backup) belongings {
	c.Helper()
	text, err := os.ReadFile(c.db.path())
	must(c.T, err)
	units, err := exporterUnits(c.vm.record.VMName)
	must(c.T, err)
	was := belongings{database: text, units: units}
	for _, d := range b.Disks {
		was.pids = append(was.pids, d.QemuNBDPID)
	}
	return was
}

func (c *crash) same(was belongings) {
	c.Helper()
	text, err := os.ReadFile(c.db.path())
	must(c.T, err)
	if !bytes.Equal(text, was.database) {
		c.Error("the database has changed")
	}
	units, err := exporterUnits(c.vm.record.VMName)
	must(c.T, err)
	if len(units) != len(was.units) || len(units) == 0 {
		c.Errorf("units were %v and are %v", was.units, units)
	}
	for _, pid := range was.pids {
		if err := syscall.Kill(pid, 0); err != nil {
			c.Errorf("exporter %d: %v", pid, err)
		}
	}
}

// schemaVersion replaces the version that the database says it has, and returns what it was.
func (c databaseSteps) schemaVersion(to string) (was string) {
	c.Helper()
	db, err := bolt.Open(c.path(), 0o600, &bolt.Options{Timeout: patient})
	must(c.T, err)
	must(c.T, db.Update(func(t *bolt.Tx) error {
		meta, key := t.Bucket([]byte("meta")), []byte("schema")
		was = string(meta.Get(key))
		return meta.Put(key, []byte(to))
	}))
	must(c.T, db.Close())
	return was
}
