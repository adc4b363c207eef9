package crashtest_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// A fault is something that goes wrong around the agent, and what is promised for that case. After each of them the backup
// is what promise says, the request that is repeated is answered with it, another backup completes, and all that
// hub.check looks at holds: units, leases, database, repository, images, and one POST for each backup.
type fault struct {
	name    string
	promise string
	config  map[string]string // keys of the configuration that differ
	act     func(c *crash)    // brings the daemon up, asks for the backup, does harm and takes it away again
	becomes string            // what becomes of the backup: its state, "none", or one "or" the other
}

// faultGroups are all that concern one hub alone, by what they are about.
var faultGroups = []struct {
	about  string
	faults []fault
}{
	{"SNA", snaFaults},
	{"client", clientFaults},
	{"exporter", exporterFaults},
	{"parent", parentFaults},
	{"disks", slices.Concat(diskFaults, squeezeFaults)},
	{"repository", repositoryFaults},
	{"state", stateFaults},
	{"database", databaseFaults},
	{"clock", slices.Concat(clockFaults, datedFaults)},
	{"socket", socketFaults},
	{"damage", damageFaults},
	{"points", pointFaults},
	{"deletion", deletionFaults},
	{"restore", restoreFaults},
	{"catalog", []fault{olderDatabase, linkedTwice, awayAtStart}},
	{"hang", hangFaults},
}

// sampled is how many of each group are tried unless all are asked for: together they take minutes.
const sampled = 2

var allFaults = flag.Bool("all-faults", false, "try every fault of TestFaults, not only the first of each group")

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, group := range faultGroups {
		t.Run(group.about, func(t *testing.T) {
			t.Parallel()
			tried := group.faults
			if !*allFaults {
				tried = tried[:sampled]
			}
			for _, f := range tried {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					f.try(t)
				})
			}
		})
	}
}

// TestFaultsOfTheMachine tries those that every hub of the machine feels. No other test runs meanwhile.
func TestFaultsOfTheMachine(t *testing.T) {
	tried := machineFaults
	if !*allFaults {
		tried = tried[:sampled]
	}
	for _, f := range tried {
		t.Run(f.name, f.try)
	}
}

// TestPromisedFaults: docs/promises.md names every group of faults.
func TestPromisedFaults(t *testing.T) {
	text, err := os.ReadFile("../../../docs/promises.md")
	must(t, err)
	for _, group := range faultGroups {
		if !strings.Contains(string(text), "`TestFaults/"+group.about+"`") {
			t.Errorf("docs/promises.md has no promise that TestFaults/%s holds", group.about)
		}
	}
	if n := strings.Count(string(text), "`TestFaults/"); n != len(faultGroups) {
		t.Errorf("docs/promises.md names %d groups of faults, there are %d", n, len(faultGroups))
	}
}

func (f fault) try(t *testing.T) {
	began := time.Now()
	c := newCrash(t, operation{name: f.name})
	c.daemon.withoutHaste()
	for key, value := range f.config {
		c.set(key, value)
	}
	f.act(c)
	outcome := c.aftermath()
	if !slices.Contains(strings.Split(f.becomes, " or "), outcome) {
		t.Errorf("the backup is %s, want %s", outcome, f.becomes)
	}
	faultResults.add(f.name, f.promise, outcome, time.Since(began))
}

// withoutHaste makes the deadlines long, so that none of them hides what is tried.
func (c daemonSteps) withoutHaste() {
	c.Helper()
	for _, key := range []string{"first_connection", "no_progress", "disconnect"} {
		c.set("deadlines."+key, `"1m"`)
	}
}

// up boots the daemon and puts the VM on record.
func (c daemonSteps) up() {
	c.Helper()
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
}

// begins asks for the backup, which must be accepted.
func (c *crash) begins() (id string) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	id, err := c.start(ctx, c.request)
	must(c.T, err)
	return id
}

// refused asks for the backup, which must be refused for a reason and in words that hold those given.
func (c *crash) refused(reason rpc.Reason, words ...string) rpc.ErrorData {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	_, err := c.start(ctx, c.request)
	var said *rpc.Error
	if !errors.As(err, &said) || said.Data.Reason != reason {
		c.Fatalf("start: %v; want %s", err, reason)
	}
	for _, w := range words {
		if !strings.Contains(said.Message, w) {
			c.Errorf("start: %q does not say %q", said.Message, w)
		}
	}
	return said.Data
}

// midCopy brings the daemon up and the backup to the midst of its first disk.
func (c *crash) midCopy() rpc.Backup {
	c.Helper()
	c.daemon.up()
	return c.held()
}

func (c *crash) held() rpc.Backup {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	b, err := heldCopy(ctx, c)
	must(c.T, err)
	return b
}

// now is the record as it is.
func (c *crash) now(id string) (b rpc.Backup) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
		b, err = client.GetBackup(ctx, id)
		return err
	}))
	return b
}

// until waits for a state of the backup.
func (c *crash) untilState(id string, state rpc.BackupState) {
	c.Helper()
	c.eventually(id+" is "+string(state), func() bool { return c.now(id).State == state })
}

// over waits until every backup has ended.
func (c *crash) allEnd() {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.ended(ctx))
}

// fails waits for the end of the backup, which must have failed for a reason and in words that hold those given.
func (c *crash) fails(id string, reason rpc.Reason, words ...string) rpc.Failure {
	c.Helper()
	c.allEnd()
	b := c.now(id)
	if b.State != rpc.Failed || b.Failure == nil || b.Failure.Reason != reason {
		c.Fatalf("backup %s is %s: %+v; want failed for %s", id, b.State, b.Failure, reason)
	}
	for _, w := range words {
		if !strings.Contains(b.Failure.Message, w) {
			c.Errorf("backup %s: %q does not say %q", id, b.Failure.Message, w)
		}
	}
	return *b.Failure
}

// says waits until the daemon's log holds the words.
func (c daemonSteps) says(words string) {
	c.Helper()
	c.eventually("the daemon says "+words, func() bool { return strings.Contains(c.log(), words) })
}

// down starts the daemon, which must refuse to run.
func (c daemonSteps) refusesToStart(words string) {
	c.Helper()
	if _, err := systemctl("start", serviceOf(c.slot)); err == nil {
		c.Fatal("the daemon started")
	}
	c.says(words)
}

// started asks for the backup in the background, for when the answer comes late. The answer is sent once.
func (c *crash) started() <-chan error {
	answer := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		_, err := c.start(ctx, c.request)
		answer <- err
	}()
	return answer
}
