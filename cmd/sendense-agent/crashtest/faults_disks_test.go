package crashtest_test

import (
	"strings"

	"github.com/sendense/backup-agent/rpc"
)

// diskFaults are those of what vCenter has and the record has not.
var diskFaults = []fault{
	{
		name:    "vCenter has a disk that is not on record",
		promise: "failed with disk_unknown: what lacks a disk is no restore point",
		act: func(c *crash) {
			c.daemon.up()
			c.fails(c.beginsWithDisk(), rpc.ReasonDiskUnknown, "not on record")
		},
		becomes: "failed",
	},
	{
		name:    "vCenter has a disk that is not on record, and the daemon is away when its client asks",
		promise: "failed with disk_unknown: the question waits at the callback socket",
		config:  map[string]string{"deadlines.last_question": `"3s"`},
		act: func(c *crash) {
			c.daemon.up()
			c.sna.Hold("disconnect/1")
			id := c.beginsWithDisk()
			c.untilState(id, rpc.Finishing)
			c.halt()
			c.sna.Release("disconnect/1")
			c.eventually("the client asks", func() bool { return c.sna.State().Runs[0].OpenConnections == 0 })
			c.boot()
			c.fails(id, rpc.ReasonDiskUnknown)
		},
		becomes: "failed",
	},
	{
		name:    "a disk is another one than that of the parent",
		promise: "its image is a full one, and stands on nothing",
		act: func(c *crash) {
			diskReplaced(c)
			c.boot()
			c.request.BackupType = rpc.Incremental
			id := c.begins()
			c.untilState(id, rpc.Completed)
			if d := c.now(id).Disks[1]; d.Change != "replaced" || d.Content != "full" || d.Backing != "" || !strings.Contains(d.CopiedWhy, d.ChangeID) {
				c.Errorf("%+v", d)
			}
		},
		becomes: "completed",
	},
	{
		name:    "the VM was made anew under its name",
		promise: "an incremental is refused with no_parent; auto makes a full backup, and says why",
		act: func(c *crash) {
			c.vm.record.UUID = "4210-old"
			c.points.make()
			c.vm.record.UUID = "4210-new"
			ctx, cancel := c.limit()
			defer cancel()
			must(c.T, c.put(ctx, c.vm))
			c.request.BackupType = rpc.Incremental
			c.refused(rpc.ReasonNoParent, "4210-old", "4210-new")
			c.request.BackupType = rpc.Auto
			b := c.now(c.begins())
			if b.BackupType != rpc.Full || !strings.Contains(b.FullWhy, "4210-old") {
				c.Errorf("it is %s: %q", b.BackupType, b.FullWhy)
			}
		},
		becomes: "completed",
	},
}

// beginsWithDisk asks for the backup while vCenter has one disk more than the record.
func (c *crash) beginsWithDisk() (id string) {
	c.Helper()
	oneDiskMore(c)
	defer func() { must(c.T, c.sna.SetVM(c.vm.simulated())) }()
	id = c.begins()
	ctx, cancel := c.limit()
	defer cancel()
	_, err := c.sna.WaitSnapshot(ctx, id)
	must(c.T, err)
	return id
}
