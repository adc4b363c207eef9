package crashtest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sendense/backup-agent/rpc"
)

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

// diskReplaced leaves a restore point behind, and another disk in the place of one that is in it.
func diskReplaced(c *crash) {
	afterFull(c)
	c.vm.disks[1].UUID = "52 99"
	must(c.T, c.sna.SetVM(c.vm.simulated()))
}

// oneDiskMore gives vCenter a disk that is not on record.
func oneDiskMore(c *crash) {
	vm := c.vm.simulated()
	more := vm.Disks[0]
	more.Key, more.UnitNumber = 2005, 5
	vm.Disks = append(vm.Disks, more)
	must(c.T, c.sna.SetVM(vm))
}

// beginWithoutDisk asks for the backup, and takes the disk away once it is in the snapshot.
func beginWithoutDisk(ctx context.Context, c *crash) error {
	defer func() { must(c.T, c.sna.SetVM(c.vm.simulated())) }()
	id, err := c.start(ctx, c.request)
	if err != nil {
		return answered(err)
	}
	_, err = c.sna.WaitSnapshot(ctx, id)
	return err
}

// afterFailure leaves a failed backup behind, and what was set aside of it.
func afterFailure(c *crash) {
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
	request := c.request
	c.request.RequestID = "first"
	must(c.T, killExporter(ctx, c))
	c.request = request
	must(c.T, c.ended(ctx))
	c.release()
	c.halt()
}

// withLeftovers leaves what an agent may come upon of a backup that has failed: its unit and its directory.
func withLeftovers(c *crash) {
	c.stopAt("image made")
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
	request := c.request
	c.request.RequestID = "first"
	c.until(begin)
	c.request = request
	must(c.T, os.Remove(c.sign()))
	c.environment()
	c.kill()
	c.boot()
	must(c.T, c.ended(ctx))
	list, err := c.backups(ctx, c.vm)
	must(c.T, err)
	c.halt()
	for _, b := range list {
		must(c.T, os.MkdirAll(b.Directory, 0o711))
		out, err := exec.Command("systemd-run", "--quiet", "--slice=sendense-nbd.slice", "--unit="+b.Disks[0].Unit, "sleep", "infinity").CombinedOutput()
		if err != nil {
			c.Fatalf("systemd-run: %v: %s", err, out)
		}
	}
}

// deletionCutShort leaves a deletion that is on record and no more.
func deletionCutShort(c *crash) {
	afterFull(c)
	c.cutShort("delete: before files", deleteAll)
}

// cutShort has a daemon killed at a point of what act does.
func (c *crash) cutShort(point string, act func(context.Context, *crash) error) {
	c.Helper()
	c.stopAt(point)
	c.boot()
	c.until(act)
	c.eventually(point+" is reached", c.reached)
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
func takePort(c *crash) { c.takePort(0) }

// takePort holds a port, counted from the first of the range.
func (c *crash) takePort(n int) {
	c.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.firstPort()+n))
	must(c.T, err)
	c.Cleanup(func() { _ = l.Close() }) // nobody has used it
}

// otherGroup leaves a restore point that the exporters' group may not read, as after the agent was installed anew.
func otherGroup(c *crash) {
	afterFull(c)
	for _, manifest := range c.manifests() {
		dir := filepath.Dir(manifest)
		files, err := filepath.Glob(dir + "/*.qcow2")
		must(c.T, err)
		for _, path := range append(files, dir) {
			must(c.T, os.Chown(path, -1, nobodysGroup))
		}
	}
}

// nobodysGroup is the number of a group that there is not.
const nobodysGroup = 54321
