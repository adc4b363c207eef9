package crashtest_test

import (
	"os"
	"os/exec"

	"github.com/sendense/backup-agent/rpc"
)

// parentFaults are those of the restore point that an incremental would stand on.
var parentFaults = []fault{
	{
		name:    "parent is corrupt",
		promise: "an incremental is refused with no_parent; auto makes a full backup",
		act: func(c *crash) {
			c.points.unfitParent(func(point rpc.Backup) (mend func()) {
				image := point.Disks[0].QCOW2Path
				whole, err := os.ReadFile(image)
				must(c.T, err)
				torn := append([]byte{}, whole...)
				for i := 1 << 20; i < len(torn); i++ { // all but the header
					torn[i] = 0xa5
				}
				must(c.T, os.WriteFile(image, torn, 0))
				return func() { must(c.T, os.WriteFile(image, whole, 0)) }
			})
		},
		becomes: "completed",
	},
	{
		name:    "parent is missing",
		promise: "an incremental is refused with no_parent; auto makes a full backup",
		act: func(c *crash) {
			c.points.unfitParent(func(point rpc.Backup) (mend func()) {
				must(c.T, os.Rename(point.Directory, c.dir+"/away"))
				return func() { must(c.T, os.Rename(c.dir+"/away", point.Directory)) }
			})
		},
		becomes: "completed",
	},
	{
		name:    "parent is locked by another qemu",
		promise: "refused, auto too: what cannot be looked at is neither trusted nor given up; works again when it is free",
		act: func(c *crash) {
			point := c.points.make()
			unlock := c.lockImage(point.Disks[0].QCOW2Path)
			for _, kind := range []rpc.BackupType{rpc.Incremental, rpc.Auto} {
				c.request.BackupType = kind
				c.refused(rpc.ReasonRepositoryFailed, point.BackupID)
			}
			unlock()
			if b := c.now(c.begins()); b.BackupType != rpc.Incremental || b.ParentBackupID != point.BackupID {
				c.Errorf("it is %s on %q, want incremental on %s", b.BackupType, b.ParentBackupID, point.BackupID)
			}
		},
		becomes: "completed",
	},
}

// make leaves a restore point behind, with the daemon up, and changes on every disk since.
func (c pointSteps) make() rpc.Backup {
	c.Helper()
	afterFull(c.crash)
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	list, err := c.backups(ctx, c.vm)
	must(c.T, err)
	return list[0]
}

// unfitParent harms the newest restore point, and mends it when the backup has been made.
func (c pointSteps) unfitParent(harm func(rpc.Backup) (mend func())) {
	c.Helper()
	mend := harm(c.make())
	c.request.BackupType = rpc.Incremental
	c.refused(rpc.ReasonNoParent, "cannot be a parent")
	c.request.BackupType = rpc.Auto
	if b := c.now(c.begins()); b.BackupType != rpc.Full {
		c.Errorf("auto made a backup of type %s", b.BackupType)
	}
	c.allEnd()
	mend()
}

// lockImage has another qemu write to an image, until unlock is called.
func (c *crash) lockImage(image string) (unlock func()) {
	c.Helper()
	other := exec.Command("qemu-nbd", "--persistent", "--format=qcow2", "--socket="+c.run+"/other.sock", image)
	must(c.T, other.Start())
	unlock = func() {
		_ = other.Process.Kill() // it may have ended by itself, which the test would have seen
		_ = other.Wait()
	}
	c.Cleanup(unlock)
	c.eventually("the other qemu has the image", func() bool {
		_, err := os.Stat(c.run + "/other.sock")
		return err == nil
	})
	return unlock
}
