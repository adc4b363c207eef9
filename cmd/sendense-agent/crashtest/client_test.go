package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// A client asks for random things, and keeps what it was answered. A daemon that is down is to be expected at any time, so
// that nothing but a wrong answer is an error.
type client struct {
	*hub
	*history
	number int
	random *rand.Rand
	list   []*vm
	asked  []rpc.StartRequest
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
	switch c.random.IntN(24) {
	default:
		c.startNew(ctx, v)
	case 0, 1:
		c.cancelOne(ctx, v)
	case 2:
		if len(c.asked) > 0 {
			c.ask(ctx, c.asked[len(c.asked)-1-c.random.IntN(min(5, len(c.asked)))])
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
	case 9:
		c.deleteOne(ctx, v)
	case 10, 11, 12:
		c.getOne(ctx, v)
	case 13, 14, 15:
		c.onPoint(ctx, v)
	case 16:
		c.pruneOne(ctx, c.list[0]) // of the others nothing goes that nobody has deleted
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

// refused says whether an error is the daemon's own word, and reports one that is never right.
func (c *client) refused(err error, what string) bool {
	var said *rpc.Error
	if !errors.As(err, &said) {
		return false
	}
	if said.Data.Reason == rpc.ReasonInternal {
		c.Errorf("%s: %v", what, err)
	}
	return said.Data.Reason != rpc.ReasonShuttingDown // which leaves open what becomes of it
}

func (c *client) startNew(ctx context.Context, v *vm) {
	kinds := []rpc.BackupType{rpc.Full, rpc.Auto, rpc.Incremental}
	request := rpc.StartRequest{
		VMName: v.record.VMName, BackupType: kinds[c.random.IntN(len(kinds))], Queue: c.random.IntN(2) == 0,
		RequestID: fmt.Sprintf("request-%d-%d", c.number, len(c.asked)),
	}
	c.asked = append(c.asked, request)
	c.ask(ctx, request)
}

// ask asks for a backup.
func (c *client) ask(ctx context.Context, r rpc.StartRequest) {
	began := c.history.asksStart(r.RequestID)
	id, err := c.start(ctx, r)
	if err == nil {
		c.history.started(began, r.RequestID, id)
		return
	}
	if !c.refused(err, "start of "+r.VMName) {
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *client) cancelOne(ctx context.Context, v *vm) {
	b, found := c.active(ctx, v)
	if !found {
		return
	}
	began := c.history.asks(cancels, b.BackupID)
	err := c.with(ctx, func(client *rpc.Client) error {
		_, err := client.CancelBackup(ctx, b.BackupID)
		return err
	})
	if err == nil {
		c.history.saw(began, b.BackupID, rpc.Cancelled)
	}
	c.refused(err, "cancel of "+b.BackupID)
}

// deleteOne deletes a backup of a VM, if nothing stands on it.
func (c *client) deleteOne(ctx context.Context, v *vm) {
	list, err := c.look(ctx, v)
	if err != nil || len(list) == 0 {
		return
	}
	id := list[c.random.IntN(len(list))].BackupID
	began := c.history.asks(deletes, id)
	err = c.with(ctx, func(client *rpc.Client) error {
		return client.DeleteBackup(ctx, rpc.DeleteRequest{BackupID: id})
	})
	if err == nil {
		c.history.saw(began, id, gone)
	}
	c.refused(err, "deletion of "+id)
}

// getOne asks for a backup that was seen before.
func (c *client) getOne(ctx context.Context, v *vm) {
	id := c.history.known(c.random, v.record.VMName)
	if id == "" {
		_, _ = c.look(ctx, v)
		return
	}
	began := c.history.now()
	var b rpc.Backup
	err := c.with(ctx, func(client *rpc.Client) (err error) {
		b, err = client.GetBackup(ctx, id)
		return err
	})
	var said *rpc.Error
	switch {
	case err == nil:
		c.history.saw(began, id, b.State)
	case errors.As(err, &said) && said.Data.Reason == rpc.ReasonBackupNotFound:
		c.history.saw(began, id, gone)
	default:
		c.refused(err, "get of "+id)
	}
}

// look lists the newest backups of a VM.
func (c *client) look(ctx context.Context, v *vm) ([]rpc.Backup, error) {
	began := c.history.now()
	var page rpc.BackupPage
	err := c.with(ctx, func(client *rpc.Client) (err error) {
		page, err = client.ListBackups(ctx, rpc.BackupQuery{VMName: v.record.VMName, Limit: 10})
		return err
	})
	if err == nil {
		c.history.listed(began, v.record.VMName, page.Backups)
	}
	return page.Backups, err
}

// active is the backup of a VM that goes on.
func (c *client) active(ctx context.Context, v *vm) (rpc.Backup, bool) {
	list, err := c.look(ctx, v)
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
		c.hub.mu.Lock()
		c.robbed[b.BackupID] = true
		c.hub.mu.Unlock()
		_, _ = systemctl("kill", "--signal=KILL", d.Unit+".service") // it may have ended
	}
}
