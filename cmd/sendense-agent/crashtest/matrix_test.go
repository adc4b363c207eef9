package crashtest_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// extent says how much of the matrix is walked. All of it takes minutes: see "make crash-matrix".
var extent = flag.String("matrix", "sample", "sample: after each commit of a full backup; cover: each point once; "+
	"points: each point of each operation; all: each time that it is reached too")

// TestMatrix kills the daemon at the points that the operations reach. -count repeats it.
func TestMatrix(t *testing.T) {
	t.Parallel()
	sample := *extent == "sample"
	var killed coverage
	t.Run("at", func(t *testing.T) {
		walked := operations
		if sample {
			walked = operations[:1]
		}
		for _, op := range walked {
			t.Run(op.name, func(t *testing.T) {
				t.Parallel()
				for _, point := range killed.choose(op, learn(t, op)) {
					t.Run(point, func(t *testing.T) {
						t.Parallel()
						if killAt(t, op, point) {
							killed.add(point)
						}
					})
				}
			})
		}
	})
	if !t.Failed() && !filtered() && !sample {
		killed.check(t)
	}
}

// learn lets an operation come to its end undisturbed, and returns the points that it reached, each with how many times it
// was by then.
func learn(t *testing.T, op operation) (points []string) {
	began := time.Now()
	c := newCrash(t, op)
	log := c.run + "/points"
	c.ready("SENDENSE_FAILPOINT_LOG=" + log)
	c.until(op.act)
	c.release()
	ctx, cancel := c.limit()
	defer cancel()
	must(t, c.ended(ctx))
	c.halt() // what follows the last commit is to be in the log too
	text, err := os.ReadFile(log)
	must(t, err)
	c.environment()
	c.lookAlike(c.vm)
	must(t, c.sna.SetFaults(snatest.Faults{}))
	c.boot()
	outcome := c.aftermath()
	results.add(op.name, "-", outcome, time.Since(began))
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSpace(line)
		seen[name]++
		points = append(points, fmt.Sprintf("%s:%d", name, seen[name]))
	}
	if op.from != "" && seen[op.from] == 0 {
		t.Errorf("%s is not reached", op.from)
	}
	return points
}

// killAt kills the daemon at one point of an operation, and checks everything after the next one has done its work. It
// returns whether the point was reached.
func killAt(t *testing.T, op operation, point string) bool {
	began := time.Now()
	c := newCrash(t, op)
	c.ready("SENDENSE_FAILPOINT=\""+point+"\"", "SENDENSE_FAILPOINT_FILE="+c.sign())
	c.until(op.act)
	first := strings.HasSuffix(point, ":1") // the others may not come
	reached := c.reaches(first)
	if !reached && first {
		t.Errorf("%s is not reached any more", point)
	}
	c.crash()
	outcome := c.aftermath()
	if !reached {
		outcome = "not reached, " + outcome
	}
	results.add(op.name, point, outcome, time.Since(began))
	return reached
}

func newCrash(t *testing.T, op operation) *crash { return newTapedCrash(t, op, nil) }

// newTapedCrash is newCrash with a tape that runs along.
func newTapedCrash(t *testing.T, op operation, tape *tape) *crash {
	if tape != nil {
		tape.NoExchange = op.plain
	}
	c := crashOf(newTapedHub(t, op.config, tape), op)
	if tape == nil && op.plain {
		c.uncover = c.withoutExchange()
	}
	c.vm = c.addVM(2)
	c.request = rpc.StartRequest{
		VMName: c.vm.record.VMName, BackupType: cmp.Or(op.kind, rpc.Full), RequestID: "victim", Queue: op.queue,
	}
	c.environment()
	return c
}

// ready brings the hub to where the operation begins, with a daemon of the environment given.
func (c *crash) ready(environment ...string) {
	c.Helper()
	must(c.T, c.sna.SetFaults(c.operation.faults))
	if c.operation.prepare != nil {
		c.operation.prepare(c)
	}
	_ = os.Remove(c.sign()) // of the preparation
	c.environment(environment...)
	c.kill()
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	if !c.reached() && c.operation.act != nil {
		if err := c.put(ctx, c.vm); err != nil && !c.reached() {
			c.Fatal(err)
		}
	}
}

// until does something with the daemon, and gives up when the daemon has stopped at its point.
func (c *crash) until(act func(context.Context, *crash) error) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- act(ctx, c) }()
	for {
		select {
		case err := <-done:
			if err != nil && !c.reached() {
				c.Fatal(err)
			}
			return
		case <-time.After(5 * time.Millisecond):
			if c.reached() {
				cancel()
			}
		}
	}
}

// crash kills the daemon where it stands, lets the world go on, and starts the next one.
func (c *crash) crash() {
	c.Helper()
	c.environment()
	c.kill()
	_ = os.Remove(c.sign())
	c.published = c.manifests()
	if c.operation.stands {
		c.points.stand()
	}
	must(c.T, c.scribble())
	c.lookAlike(c.vm)
	must(c.T, c.sna.SetFaults(snatest.Faults{}))
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm)) // it may have been killed before it knew the VM
	c.release()
}

func (c *crash) release() {
	c.sna.Release("login")
	c.sna.Release("copy/0")
}

// reaches lets the operation come to its end, and says whether the daemon has stopped at its point before. must has it wait as long as a
// busy machine needs.
func (c *crash) reaches(must bool) bool {
	c.Helper()
	if c.reached() {
		return true
	}
	c.release()
	looked := time.Now()
	c.eventually("the point is reached or the backup has ended", func() bool {
		if time.Since(looked) < 100*time.Millisecond {
			return c.reached()
		}
		over := c.over()
		looked = time.Now() // to ask is work for the daemon
		return over || c.reached()
	})
	late := 5 * time.Second // the last points come after the commit by which the end is seen
	if must {
		late += busy
	}
	for deadline := time.Now().Add(late); !c.reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// over says whether every backup has ended.
func (c *crash) over() bool {
	ctx, cancel := c.untilReached()
	defer cancel()
	return c.ended(ctx) == nil
}

func (c *crash) limit() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), patient, errors.New("not within "+patient.String()))
}
