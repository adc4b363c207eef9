package crashtest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

var (
	seed  = flag.Uint64("seed", 0, "seed of TestRandom; 0 for a new one")
	kills = flag.Int("kills", 60, "how often TestRandom kills the daemon")
)

// TestRandom kills the daemon at random moments, its start included, while a client asks it for random things. The same
// seed gives the same requests and pauses; when exactly they happen is up to the machine.
func TestRandom(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed %d -kills %d", *seed, *kills)
	h := newHub(t, "")
	c := &client{hub: h, random: rand.New(rand.NewPCG(*seed, 1)), answers: map[string]string{}}
	for i := range 3 {
		c.list = append(c.list, h.addVM(i+1))
		h.lookAlike(c.list[i])
	}
	h.limitBackups(2)
	h.environment()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.work(ctx)
	}()
	random := rand.New(rand.NewPCG(*seed, 2))
	for i := range *kills {
		_, err := systemctl("start", "--no-block", serviceOf(h.slot))
		must(t, err)
		// Mostly short, so that the taking up of what the last one left is cut short too; now and then a backup completes.
		life := random.Float64()
		time.Sleep(time.Duration(life * life * float64(1500*time.Millisecond)))
		h.kill()
		h.postedOnce()
		if t.Failed() {
			t.Fatalf("after %d kills", i+1)
		}
	}
	cancel()
	<-done
	c.settle()
}

// A client asks for random things. A daemon that is down is to be expected at any time, so that nothing but a wrong answer
// is an error.
type client struct {
	*hub
	random  *rand.Rand
	list    []*vm
	last    []rpc.StartRequest
	answers map[string]string // backup by request id
}

func (c *client) work(ctx context.Context) {
	for _, v := range c.list {
		for c.put(ctx, v) != nil && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
	}
	for ctx.Err() == nil {
		step, cancel := context.WithTimeout(ctx, 3*time.Second)
		c.step(step)
		cancel()
	}
}

// step does one thing.
func (c *client) step(ctx context.Context) {
	v := c.list[c.random.IntN(len(c.list))]
	switch c.random.IntN(16) {
	default:
		c.startNew(ctx, v)
	case 0, 1:
		c.cancelOne(ctx, v)
	case 2:
		if len(c.last) > 0 {
			c.ask(ctx, c.last[len(c.last)-1-c.random.IntN(min(5, len(c.last)))])
		}
	case 3:
		c.sna.Hold("copy/0")
		c.pause(200)
		c.sna.Release("copy/0")
	case 4:
		c.tell(c.sna.SetFaults(sometimes[c.random.IntN(len(sometimes))]))
	case 5:
		c.tell(c.scribble())
	case 6:
		c.rob(ctx, v)
	case 7, 8:
		c.pause(100)
	}
}

// sometimes are the faults of the SNA, of which there is none most of the time.
var sometimes = [12]snatest.Faults{
	{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"},
	{Answer: snatest.AnswerReset},
	{Answer: snatest.AnswerGarbage, Inert: true},
	{LoginFails: true},
	{DieInDisks: []int{0}},
	{ReportTwice: true},
}

// pause sleeps for up to so many milliseconds.
func (c *client) pause(most int) { time.Sleep(time.Duration(c.random.IntN(most)) * time.Millisecond) }

// tell reports an error that nothing excuses, from outside the test's own goroutine.
func (c *client) tell(err error) {
	if err != nil {
		c.Error(err)
	}
}

func (c *client) startNew(ctx context.Context, v *vm) {
	kinds := []rpc.BackupType{rpc.Full, rpc.Auto, rpc.Incremental}
	request := rpc.StartRequest{
		VMName: v.record.VMName, BackupType: kinds[c.random.IntN(len(kinds))], Queue: c.random.IntN(2) == 0,
		RequestID: fmt.Sprintf("request-%d", len(c.last)),
	}
	c.last = append(c.last, request)
	c.ask(ctx, request)
}

// ask asks for a backup. A request that was answered with one backup must not be answered with another.
func (c *client) ask(ctx context.Context, r rpc.StartRequest) {
	id, err := c.start(ctx, r)
	var said *rpc.Error
	if errors.As(err, &said) {
		if said.Data.Reason == rpc.ReasonInternal {
			c.Errorf("start of %s: %v", r.VMName, err)
		}
		return // its backup_id may be that of the backup which is in the way
	}
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	if first, ok := c.answers[r.RequestID]; ok && first != id {
		c.Errorf("request %s was answered with %s and %s", r.RequestID, first, id)
	}
	c.answers[r.RequestID] = id
}

func (c *client) cancelOne(ctx context.Context, v *vm) {
	b, found := c.active(ctx, v)
	if !found {
		return
	}
	err := c.with(ctx, func(client *rpc.Client) error {
		_, err := client.CancelBackup(ctx, b.BackupID)
		return err
	})
	var said *rpc.Error
	if errors.As(err, &said) && said.Data.Reason == rpc.ReasonInternal {
		c.Errorf("cancel of %s: %v", b.BackupID, err)
	}
}

// active is the backup of a VM that goes on.
func (c *client) active(ctx context.Context, v *vm) (rpc.Backup, bool) {
	list, err := c.backups(ctx, v)
	i := slices.IndexFunc(list, func(b rpc.Backup) bool { return !b.State.Ended() })
	if err != nil || i < 0 {
		return rpc.Backup{}, false
	}
	return list[i], true
}

// rob kills an exporter.
func (c *client) rob(ctx context.Context, v *vm) {
	b, found := c.active(ctx, v)
	if !found || len(b.Disks) == 0 {
		return
	}
	d := b.Disks[c.random.IntN(len(b.Disks))]
	pid, err := systemctl("show", "--property=MainPID", "--value", d.Unit+".service") // the one on record may be another's by now
	if err == nil && pid != "0" {
		c.robbed[b.BackupID] = true
		_, _ = systemctl("kill", "--signal=KILL", d.Unit+".service") // it may have ended
	}
}

// settle lets everything come to its end, and checks all that must hold.
func (c *client) settle() {
	c.Helper()
	must(c.T, c.sna.SetFaults(snatest.Faults{}))
	c.sna.Release("copy/0")
	c.boot()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	must(c.T, c.ended(ctx))
	for _, v := range c.list {
		must(c.T, c.put(ctx, v))
		c.another(ctx, v)
	}
	c.halt()
	records := c.check()
	for request, id := range c.answers {
		if records[id].RequestID != request {
			c.Errorf("request %s was answered with %s, which is on record for %q", request, id, records[id].RequestID)
		}
	}
	outcomes := map[string]int{}
	for _, b := range records {
		outcomes[string(b.State)]++
	}
	c.Logf("%d backups: %v", len(records), outcomes)
}
