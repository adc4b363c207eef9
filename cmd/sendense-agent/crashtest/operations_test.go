package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// An operation is something that the agent does, and that may be cut short anywhere.
type operation struct {
	name    string
	config  string         // appended to section [agent]
	faults  snatest.Faults // of the SNA while it runs
	kind    rpc.BackupType
	queue   bool
	from    string                                    // before this point it is as the first operation
	prepare func(c *crash)                            // with a daemon of its own, which it leaves stopped or killed
	act     func(ctx context.Context, c *crash) error // what leads to the end of the backup, or to a kill
}

// operations are all that are tried. Every failpoint in the source must be reached by one of them.
var operations = []operation{
	{name: "full", act: begin},
	{name: "incremental", kind: rpc.Incremental, prepare: afterFull, act: begin},
	{name: "cancel", from: "committed running", act: cancelInMidCopy},
	{name: "refused", from: "before call", faults: snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"}, act: begin},
	{name: "answer lost", from: "before call", faults: snatest.Faults{Answer: snatest.AnswerReset}, act: begin},
	{name: "request lost", from: "before call", faults: snatest.Faults{Answer: snatest.AnswerReset, Inert: true}, act: begin},
	{name: "exporter killed", from: "committed running", act: killExporter},
	{name: "exporter killed, images kept", from: "committed running", config: `failed_images = "set_aside"`, act: killExporter},
	{name: "queued", queue: true, prepare: behindAnother, act: queuedStart},
	{name: "port taken", from: "before relet", prepare: takePort, act: begin},
	restarted("image made"),
	restarted("before call"),
	heldAtLogin(restarted("after call")),
	heldAtLogin(restarted("committed running")),
	restarted("terminated"),
	restarted("published"),
}

// restarted is the start of a daemon that finds what another has left that was killed at a point of a full backup.
func restarted(point string) operation {
	return operation{
		name: "restart at " + point,
		prepare: func(c *crash) {
			c.stopAt(point)
			c.boot()
			ctx, cancel := c.limit()
			defer cancel()
			must(c.T, c.put(ctx, c.vm))
			c.until(begin)
			if !c.reaches() {
				c.Fatalf("%s was not reached", point)
			}
		},
		act: func(context.Context, *crash) error { return nil },
	}
}

// heldAtLogin has SBC stand still before anybody can see it, until the daemon that is killed in the end runs.
func heldAtLogin(op operation) operation {
	prepare := op.prepare
	op.prepare = func(c *crash) {
		c.sna.Hold("login")
		prepare(c)
	}
	op.act = func(_ context.Context, c *crash) error {
		c.sna.Release("login")
		return nil
	}
	return op
}

// A crash is one life of a hub in which the daemon is killed.
type crash struct {
	*hub
	operation operation
	vm        *vm
	request   rpc.StartRequest
	published []string // the manifests that were there when it was killed
}

// begin asks for the backup that the operation is about. A refusal is as good an answer as any.
func begin(ctx context.Context, c *crash) error {
	_, err := c.start(ctx, c.request)
	return answered(err)
}

// answered drops the errors that are the daemon's own words.
func answered(err error) error {
	var said *rpc.Error
	if errors.As(err, &said) {
		return nil
	}
	return err
}

// afterFull leaves a restore point behind, and changes on every disk since.
func afterFull(c *crash) {
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
	_, err := c.start(ctx, rpc.StartRequest{VMName: c.request.VMName, BackupType: rpc.Full, RequestID: "first"})
	must(c.T, err)
	must(c.T, c.ended(ctx))
	must(c.T, c.scribble())
	c.halt()
}

// heldCopy starts the backup and returns its record once its copy stands still in the midst of the first disk.
func heldCopy(ctx context.Context, c *crash) (rpc.Backup, error) {
	c.sna.Hold("copy/0")
	id, err := c.start(ctx, c.request)
	if err != nil {
		return rpc.Backup{}, err
	}
	if _, err := c.sna.WaitHeld(ctx, id, "copy/0"); err != nil {
		return rpc.Backup{}, err
	}
	var b rpc.Backup
	err = c.with(ctx, func(client *rpc.Client) (err error) {
		b, err = client.GetBackup(ctx, id)
		return err
	})
	return b, err
}

func cancelInMidCopy(ctx context.Context, c *crash) error {
	b, err := heldCopy(ctx, c)
	if err != nil {
		return err
	}
	return answered(c.with(ctx, func(client *rpc.Client) error {
		_, err := client.CancelBackup(ctx, b.BackupID)
		return err
	}))
}

func killExporter(ctx context.Context, c *crash) error {
	b, err := heldCopy(ctx, c)
	if err != nil {
		return err
	}
	pid := b.Disks[0].QemuNBDPID
	if pid <= 0 {
		return fmt.Errorf("the exporter of %s has no PID", b.BackupID)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// behindAnother leaves the backup of another VM in mid copy, in a hub where one may run at a time.
func behindAnother(c *crash) {
	c.limitBackups(1)
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	other := c.addVM(1)
	must(c.T, c.put(ctx, other))
	must(c.T, c.put(ctx, c.vm))
	c.sna.Hold("copy/0")
	id, err := c.start(ctx, rpc.StartRequest{VMName: other.record.VMName, BackupType: rpc.Full, RequestID: "other"})
	must(c.T, err)
	_, err = c.sna.WaitHeld(ctx, id, "copy/0")
	must(c.T, err)
	c.halt()
}

func queuedStart(ctx context.Context, c *crash) error {
	if err := begin(ctx, c); err != nil {
		return err
	}
	c.sna.Release("copy/0")
	return nil
}

// takePort holds the first port of the range.
func takePort(c *crash) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.firstPort()))
	must(c.T, err)
	c.Cleanup(func() { _ = l.Close() }) // nobody has used it
}
