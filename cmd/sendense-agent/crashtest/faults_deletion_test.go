package crashtest_test

import (
	"errors"
	"path/filepath"
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
		promise: "merged with two renames; one that fails leaves all as it was, or is repeated until it succeeds, and nothing is damaged",
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

// mergeWithoutExchange merges where two directories cannot be exchanged, and then cuts the commit short with errors, at each of its
// renames.
func mergeWithoutExchange(c *crash) {
	repository, uncover := c.faulty(c.dir + "/repository")
	c.policy(mergeMiddle)
	c.points.backUp(rpc.Full, rpc.Incremental, rpc.Incremental)
	c.boot()
	var broken atomic.Value // the beginning of the new name of a rename that fails
	broken.Store("")
	var failures atomic.Int32
	repository.failWhen(func(o, path string) syscall.Errno {
		switch begin := broken.Load().(string); {
		case o == opExchange:
			return syscall.EINVAL
		case o == opRename && begin != "" && strings.HasPrefix(filepath.Base(path), begin):
			failures.Add(1)
			return syscall.EIO
		}
		return 0
	})
	if report := c.points.prunes(); report.FailedCount != 0 || report.RemovedCount != 1 || report.MergedCount != 1 {
		c.Errorf("%+v", report)
	}
	newest := c.points.list()[0]

	// The old one keeps its name: the merge fails, and nothing has changed.
	broken.Store(".old-")
	c.said(c.points.consolidates(newest), rpc.ReasonRepositoryFailed, "input/output error")
	if left, err := c.merges(); err != nil || len(left) > 0 || c.now(newest).BackupType != rpc.Incremental {
		c.Errorf("left: %v, %v; it is %s", left, err, c.now(newest).BackupType)
	}

	// The new one does not get its name: the merge is committed. Until the fault is gone nobody may read, and nothing is damaged.
	broken.Store("backup-")
	before := failures.Load()
	done := make(chan error, 1)
	go func() { done <- c.points.consolidates(newest) }()
	c.eventually("the second rename fails", func() bool { return failures.Load() > before })
	ctx, cancel := c.limit()
	defer cancel()
	c.said(c.with(ctx, func(client *rpc.Client) error {
		_, err := client.VerifyBackup(ctx, rpc.VerifyRequest{BackupID: newest}, nil)
		return err
	}), rpc.ReasonBusy, newest)
	if left, err := c.merges(); err != nil || len(left) != 2 {
		c.Errorf("the commit is cut short, and there are %v, %v", left, err)
	}
	broken.Store("")
	if err := <-done; err != nil || c.now(newest).BackupType != rpc.Full {
		c.Errorf("%v; it is %s", err, c.now(newest).BackupType)
	}
	for _, id := range c.points.list() {
		if r := c.points.verifies(id); r.Result != rpc.VerifyOK {
			c.Errorf("%+v", r)
		}
	}
	repository.heal()
	uncover()
	c.halt()
	c.points.stand()
	c.boot()
}

// list lists the restore points of the VM, the newest first.
func (c pointSteps) list() (ids []string) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	list, err := c.backups(ctx, c.vm)
	must(c.T, err)
	for _, b := range list {
		ids = append(ids, b.BackupID)
	}
	return ids
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
