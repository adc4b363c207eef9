package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// olderDatabase is a database that was put back from a copy, and the rebuild beside it, which is killed again and again.
var olderDatabase = fault{
	name:    "an older database put back",
	promise: "told by log and status; a rebuild, however often it is killed, takes in what is not on record and corrects what was written anew",
	act: func(c *crash) {
		c.daemon.up()
		c.untilState(c.begins(), rpc.Completed)
		changed := c.points.incremental("changed")
		c.halt()
		old, err := os.ReadFile(c.db.path())
		must(c.T, err)
		c.boot()
		newest := c.points.incremental("newest")
		must(c.T, c.points.consolidates(changed))
		c.halt()
		must(c.T, os.WriteFile(c.db.path(), old, 0o600))
		c.boot()
		c.daemon.says("catalog and repository differ")
		if s := c.status(); s.CatalogDifferences != 2 {
			c.Errorf("the status has %+v", s.Repositories)
		}
		c.halt()
		c.db.killedRebuilds(10)
		if out, err := c.db.rebuild().CombinedOutput(); err != nil {
			c.Fatalf("rebuild: %v\n%s", err, out)
		}
		c.boot()
		c.eventually("records and repository agree", func() bool {
			s := c.status()
			return s.CatalogDifferences == 0 && !s.Repositories[0].Catalog.ComparedAt.IsZero()
		})
		if b := c.now(changed); b.BackupType != rpc.Full || b.ParentBackupID != "" {
			c.Errorf("what was consolidated is on record as %s on %q", b.BackupType, b.ParentBackupID)
		}
		if r := c.points.verifies(newest); r.Result != rpc.VerifyOK {
			c.Errorf("%+v", r)
		}
	},
	becomes: "completed",
}

// linkedTwice is a repository that was given a second name, with a copy under way.
var linkedTwice = fault{
	name:    "repository linked twice",
	promise: "the daemon does not start and has both names; the copy goes on; completed when it starts again",
	act: func(c *crash) {
		b := c.copyWithoutDaemon()
		mend := c.secondRepository(c.dir + "/slow")
		must(c.T, os.Symlink(c.dir+"/repository", c.dir+"/slow"))
		before := c.untouched(b)
		c.daemon.refusesToStart("are one directory")
		for _, words := range []string{`repository "main" (` + c.dir + "/repository)", `repository "slow" (` + c.dir + "/slow)", "remove nothing"} {
			c.daemon.says(words)
		}
		c.same(before)
		mend()
		c.goesOn(b)
	},
	becomes: "completed",
}

// awayAtStart is a repository whose file system is not there when the daemon starts, and is another one's when it comes.
var awayAtStart = fault{
	name:    "repository mount away at start",
	promise: "the daemon starts and takes the copy up; the repository is compared when it comes, and refused while it is another one's",
	act: func(c *crash) {
		b := c.copyWithoutDaemon()
		c.secondRepository(c.dir + "/slow")
		c.boot()
		c.daemon.says("cannot be compared with the other repositories now")
		must(c.T, os.Symlink(c.dir+"/repository", c.dir+"/slow"))
		c.release()
		c.untilState(b.BackupID, rpc.Completed)
		first := c.request
		c.request = rpc.StartRequest{VMName: first.VMName, BackupType: rpc.Full, RepositoryID: "slow", RequestID: "slow"}
		c.refused(rpc.ReasonRepositoryFailed, "are one directory")
		must(c.T, os.Remove(c.dir+"/slow"))
		must(c.T, os.Mkdir(c.dir+"/slow", 0o755))
		id := c.begins()
		c.untilState(id, rpc.Completed)
		c.points.deletesAll(id)
		c.request = first
	},
	becomes: "completed",
}

// secondRepository configures one more for the next daemon, until mend is called.
func (c *crash) secondRepository(path string) (mend func()) {
	c.Helper()
	file := c.run + "/config.toml"
	text, err := os.ReadFile(file)
	must(c.T, err)
	must(c.T, os.WriteFile(file, fmt.Appendf(text[:len(text):len(text)], "\n[[repository]]\nid = \"slow\"\npath = %q\n", path), 0o644))
	return func() { must(c.T, os.WriteFile(file, text, 0o644)) }
}

// deletesAll leaves nothing of a backup, so that what is looked at in the end is one repository.
func (c pointSteps) deletesAll(id string) {
	c.Helper()
	must(c.T, c.deletes(id))
	c.eventually(id+" is gone", func() bool { return c.gone(id) })
}

func (c pointSteps) incremental(request string) string {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.scribble())
	id, err := c.start(ctx, rpc.StartRequest{VMName: c.request.VMName, BackupType: rpc.Incremental, RequestID: request})
	must(c.T, err)
	c.untilState(id, rpc.Completed)
	return id
}

func (c *crash) status() (s rpc.AgentStatus) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
		s, err = client.Status(ctx)
		return err
	}))
	return s
}

func (c databaseSteps) rebuild() *exec.Cmd {
	return exec.Command(c.program(), "rebuild", "--config", c.run+"/config.toml")
}

// killedRebuilds begins rebuilds, and kills each at some moment; one may be done before.
func (c databaseSteps) killedRebuilds(n int) {
	c.Helper()
	for range n {
		cmd := c.rebuild()
		must(c.T, cmd.Start())
		time.Sleep(rand.N(60 * time.Millisecond)) // where it is then is the point
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
