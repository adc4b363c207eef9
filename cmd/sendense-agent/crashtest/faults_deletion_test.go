package crashtest_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// deletionFaults are those of restore points that go: because somebody deletes them, or by a policy.
var deletionFaults = []fault{
	deletionFault("delete: EIO when the manifest is removed", opRemove, "manifest.json", syscall.EIO),
	deletionFault("delete: a read-only file system when an image is removed", opRemove, "disk0.qcow2", syscall.EROFS),
	{
		name:    "prune: EIO in the repository of one VM",
		promise: "the restore points of other VMs go; the report names the one that does not, and why; it goes the next time",
		act:     pruneBesideFault,
		becomes: "none",
	},
	{
		name:    "prune: ENOSPC while a restore point is merged",
		promise: "the report says so; the old chain stands, and nothing is left; it is merged when there is room",
		act:     mergeWithoutRoom,
		becomes: "none",
	},
	{
		name:    "prune: a file system that cannot exchange directories, as NFS",
		promise: "nothing is copied; the report says why, and what to do; a consolidation is refused the same; the chain stands",
		act:     mergeWithoutExchange,
		becomes: "none",
	},
	deletionFault("delete: EIO when the directory is removed", opRemove, "/backup-", syscall.EIO),
	deletionFault("delete: EIO when a directory is synced", opSyncDir, "", syscall.EIO),
	{
		name:    "delete: the repository is away",
		promise: "refused; the restore point stands, and is deleted when its repository is back",
		act: func(c *crash) {
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			repository := c.dir + "/repository"
			must(c.T, unix.Mount("tmpfs", repository, "tmpfs", 0, "mode=755")) // as it looks when it is not mounted
			err := c.points.deletes(id)
			must(c.T, unix.Unmount(repository, unix.MNT_DETACH))
			c.said(err, rpc.ReasonRepositoryFailed, id, "mounted?")
			if r := c.points.verifies(id); r.Result != rpc.VerifyOK {
				c.Errorf("%+v", r)
			}
			c.points.goes(id)
		},
		becomes: "none",
	},
}

// deletionFault fails one operation on what is being deleted. That the deletion goes on is tried twice: it is asked for again, and
// the daemon is started again.
func deletionFault(name, operation, file string, errno syscall.Errno) fault {
	return fault{
		name:    name,
		promise: "refused, saying what is not removed; on record as being deleted, and no restore point; it goes when the fault is gone",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.daemon.up()
			for _, again := range []func(id string){
				c.points.goes,
				func(string) {
					c.halt()
					c.boot()
				},
			} {
				id := c.begins()
				c.untilState(id, rpc.Completed)
				repository.failWhen(func(o, path string) syscall.Errno {
					if o == operation && strings.Contains(path, file) {
						return errno
					}
					return 0
				})
				c.said(c.points.deletes(id), rpc.ReasonRepositoryFailed, id, "not removed yet")
				if b := c.now(id); b.State != rpc.Deleting {
					c.Errorf("the backup is %s", b.State)
				}
				_, err := c.restoring.serves(id, false)
				c.said(err, rpc.ReasonWrongState, id)
				repository.heal()
				again(id)
				c.eventually(id+" is gone", func() bool { return c.points.gone(id) })
			}
			if left := c.manifests(); len(left) > 0 {
				c.Errorf("left: %v", left)
			}
			uncover()
		},
		becomes: "none",
	}
}

func pruneBesideFault(c *crash) {
	repository, uncover := c.faulty(c.dir + "/repository")
	other := c.addVM(1)
	c.policy(keepNewest)
	c.points.backUp(rpc.Full, rpc.Full)
	c.points.backUpOf(other, rpc.Full, rpc.Full)
	c.boot()
	repository.failWhen(func(o, path string) syscall.Errno {
		if o == opRemove && strings.Contains(path, c.vm.record.VMName) {
			return syscall.EIO
		}
		return 0
	})
	report := c.points.prunes()
	if report.RemovedCount != 1 || report.FailedCount != 1 {
		c.Errorf("%+v", report)
	}
	for _, p := range report.Points {
		mine := p.VMName == c.vm.record.VMName
		if p.Action != rpc.PruneDelete || p.Removed == mine || mine && (p.Failure == nil || !strings.Contains(p.Failure.Message, "input/output error")) {
			c.Errorf("%+v", p)
		}
	}
	repository.heal()
	c.points.prunes() // of what is being deleted already it has nothing to say
	for _, p := range report.Points {
		c.points.goes(p.BackupID)
	}
	if left := c.manifests(); len(left) != 2 {
		c.Errorf("left: %v", left)
	}
	uncover()
}

func mergeWithoutRoom(c *crash) {
	repository, uncover := c.faulty(c.dir + "/repository")
	c.policy(mergeMiddle)
	c.points.backUp(rpc.Full, rpc.Incremental, rpc.Incremental)
	c.boot()
	before := c.manifests()
	repository.failWhen(func(o, path string) syscall.Errno {
		if o == opWrite && strings.Contains(path, ".merge-") && strings.HasSuffix(path, ".qcow2") {
			return syscall.ENOSPC
		}
		return 0
	})
	report := c.points.prunes()
	if report.FailedCount != 1 || report.RemovedCount+report.MergedCount != 0 || report.Points[0].Failure == nil ||
		report.Points[0].Failure.Reason != rpc.ReasonNoSpace {
		c.Errorf("%+v", report)
	}
	if left, err := c.merges(); err != nil || len(left) > 0 || len(c.manifests()) != len(before) {
		c.Errorf("left: %v, %v; %v", left, err, c.manifests())
	}
	repository.heal()
	if report := c.points.prunes(); report.FailedCount != 0 || report.RemovedCount != 1 || report.MergedCount != 1 {
		c.Errorf("%+v", report)
	}
	uncover()
	c.halt()
	c.points.stand()
	c.boot()
}

func mergeWithoutExchange(c *crash) {
	repository, uncover := c.faulty(c.dir + "/repository")
	c.policy(mergeMiddle)
	c.points.backUp(rpc.Full, rpc.Incremental, rpc.Incremental)
	c.boot()
	before := c.manifests()
	var tried, copied atomic.Int32
	repository.failWhen(func(o, path string) syscall.Errno {
		switch {
		case o == opExchange:
			tried.Add(1)
			return syscall.EINVAL
		case o == opWrite && strings.Contains(path, ".merge-"):
			copied.Add(1)
		}
		return 0
	})
	report := c.points.prunes()
	if report.FailedCount != 1 || report.RemovedCount+report.MergedCount != 0 {
		c.Errorf("%+v", report)
	}
	newest := ""
	for _, p := range report.Points {
		if p.Failure == nil {
			continue
		}
		newest = strings.Join(p.Into, " ")
		if f := p.Failure; f.Reason != rpc.ReasonRepositoryFailed || !strings.Contains(f.Message, "cannot exchange two directories") ||
			!strings.Contains(f.Hint, "expired_middle") {
			c.Errorf("%+v", f)
		}
	}
	c.said(c.points.consolidates(newest), rpc.ReasonRepositoryFailed, "cannot exchange two directories", "NFS")
	if tried.Load() != 2 || copied.Load() > 0 {
		c.Errorf("exchanges: %d; what was written before: %d", tried.Load(), copied.Load())
	}
	if left, err := c.merges(); err != nil || len(left) > 0 || len(c.manifests()) != len(before) {
		c.Errorf("left: %v, %v; %v", left, err, c.manifests())
	}
	repository.heal()
	if report := c.points.prunes(); report.FailedCount != 0 || report.MergedCount != 1 {
		c.Errorf("%+v", report)
	}
	uncover()
	c.halt()
	c.points.stand()
	c.boot()
}

// deletes deletes a backup.
func (c pointSteps) deletes(id string) error {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	return c.with(ctx, func(client *rpc.Client) error {
		return client.DeleteBackup(ctx, rpc.DeleteRequest{BackupID: id})
	})
}

// goes deletes a backup, which must succeed.
func (c pointSteps) goes(id string) {
	c.Helper()
	if err := c.deletes(id); err != nil {
		c.Errorf("delete: %v", err)
	}
}

// gone says whether a backup is on record no more.
func (c pointSteps) gone(id string) bool {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	err := c.with(ctx, func(client *rpc.Client) error {
		_, err := client.GetBackup(ctx, id)
		return err
	})
	var said *rpc.Error
	return errors.As(err, &said) && said.Data.Reason == rpc.ReasonBackupNotFound
}

func (c pointSteps) prunes() (report rpc.PruneReport) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
		report, err = client.Prune(ctx, rpc.PruneRequest{})
		return err
	}))
	return report
}

// said fails the test unless the daemon has refused something for a reason and in words that hold those given.
func (c *crash) said(err error, reason rpc.Reason, words ...string) {
	c.Helper()
	var said *rpc.Error
	if !errors.As(err, &said) || said.Data.Reason != reason {
		c.Errorf("%v; want %s", err, reason)
		return
	}
	for _, w := range words {
		if !strings.Contains(said.Message+" "+said.Data.Hint, w) {
			c.Errorf("%q (%s) does not say %q", said.Message, said.Data.Hint, w)
		}
	}
}
