package crashtest_test

import (
	"os/exec"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/rpc"
)

// restoreFaults are those of restore points that are served.
var restoreFaults = []fault{
	{
		name:    "restore: EIO when an image is read",
		promise: "the client is told; it is served on, and what is read when the fault is gone is right",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			r, err := c.restoring.serves(id, false)
			must(c.T, err)
			repository.failWhen(func(operation, path string) syscall.Errno {
				if operation == opRead && strings.HasSuffix(path, "disk0.qcow2") {
					return syscall.EIO
				}
				return 0
			})
			out, err := exec.Command("qemu-io", "-r", "-f", "raw", "-c", "read 0 1M", r.Disks[0].NBDURL).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "Input/output error") {
				c.Errorf("the client was told: %s", out)
			}
			repository.heal()
			c.restoring.readsRight(r)
			if now := c.restoring.get(r.RestoreID); now.State != rpc.RestoreServing {
				c.Errorf("it is %s: %+v", now.State, now.Failure)
			}
			c.restoring.stops(r.RestoreID)
			uncover()
		},
		becomes: "completed",
	},
	{
		name:    "restore: ENOSPC on an overlay",
		promise: "the client is told; the restore point is untouched, and the overlay goes with the restore",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			r, err := c.restoring.serves(id, true)
			must(c.T, err)
			repository.failWhen(func(operation, path string) syscall.Errno {
				if operation == opWrite && strings.Contains(path, ".restore/") {
					return syscall.ENOSPC
				}
				return 0
			})
			out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write 0 1M", r.Disks[0].NBDURL).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "No space left") {
				c.Errorf("the client was told: %s", out)
			}
			repository.heal()
			c.restoring.stops(r.RestoreID)
			if v := c.points.verifies(id); v.Result != rpc.VerifyOK {
				c.Errorf("%+v", v)
			}
			uncover()
		},
		becomes: "completed",
	},
	{
		name:    "restore: exporter dies while it is read",
		promise: "failed at once; names disk and unit; the other disk is served no longer",
		act: func(c *crash) {
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			r, err := c.restoring.serves(id, false)
			must(c.T, err)
			must(c.T, syscall.Kill(r.Disks[1].QemuNBDPID, syscall.SIGKILL))
			c.eventually("the restore fails", func() bool { return c.restoring.get(r.RestoreID).State == rpc.RestoreFailed })
			f := c.restoring.get(r.RestoreID).Failure
			if f == nil || f.Reason != rpc.ReasonExporterFailed || f.DiskID == nil || *f.DiskID != 1 || f.Unit == "" {
				c.Errorf("%+v", f)
			}
			if out, err := exec.Command("qemu-img", "info", r.Disks[0].NBDURL).CombinedOutput(); err == nil {
				c.Errorf("it can be read still: %s", out)
			}
			r, err = c.restoring.serves(id, false) // another one
			must(c.T, err)
			c.restoring.readsRight(r)
			c.restoring.stops(r.RestoreID)
		},
		becomes: "completed",
	},
	{
		name:    "restore: exporter dies at its start",
		promise: "refused with disk, unit and its last words; the other is stopped",
		act: func(c *crash) {
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			c.halt()
			c.exporters.wrap(`case "$image" in *disk1.qcow2) echo "no such luck" >&2; exit 1;; esac`)
			c.boot()
			_, err := c.restoring.serves(id, false)
			c.said(err, rpc.ReasonExporterFailed, "disk 1")
			c.halt()
			c.exporters.wrap("")
			c.boot()
		},
		becomes: "completed",
	},
}

// serves starts a restore.
func (c restoreSteps) serves(id string, writable bool) (r rpc.Restore, err error) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	err = c.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.StartRestore(ctx, rpc.RestoreRequest{BackupID: id, Writable: writable})
		return err
	})
	return r, err
}

func (c restoreSteps) get(id string) (r rpc.Restore) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.GetRestore(ctx, id)
		return err
	}))
	return r
}

// stops ends a restore, of which nothing is left.
func (c restoreSteps) stops(id string) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) error {
		_, err := client.StopRestore(ctx, id)
		return err
	}))
	if r := c.get(id); r.State != rpc.RestoreEnded {
		c.Errorf("the restore is %s: %+v", r.State, r.Failure)
	}
}

// readsRight compares what is served with what the disks were.
func (c restoreSteps) readsRight(r rpc.Restore) {
	c.Helper()
	c.mu.Lock()
	instants := c.instants[r.BackupID]
	c.mu.Unlock()
	for i, d := range r.Disks {
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", instants[i], d.NBDURL).CombinedOutput(); err != nil {
			c.Errorf("disk %d is not what it was: %s", d.DiskID, out)
		}
	}
}
