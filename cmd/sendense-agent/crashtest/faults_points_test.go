package crashtest_test

import (
	"errors"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/rpc"
)

// pointFaults are those of restore points that are finished: while they are verified, and while they are written anew.
var pointFaults = []fault{
	{
		name:    "verify: EIO when an image is read",
		promise: "unreadable, which is no damage; ok when it can be read again",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			repository.failWhen(func(operation, path string) syscall.Errno {
				if operation == opRead && strings.HasSuffix(path, "disk0.qcow2") {
					return syscall.EIO
				}
				return 0
			})
			r := c.points.verifies(id)
			unreadable := ""
			for _, f := range r.Files {
				if f.Status == rpc.FileUnreadable {
					unreadable += f.Path
				}
			}
			if r.Result != rpc.VerifyIncomplete || !strings.HasSuffix(unreadable, "disk0.qcow2") {
				c.Errorf("%+v", r)
			}
			if b := c.now(id); b.Verified != nil && len(b.Verified.Damage) > 0 {
				c.Errorf("on record as damaged: %+v", b.Verified)
			}
			repository.heal()
			if r := c.points.verifies(id); r.Result != rpc.VerifyOK {
				c.Errorf("%+v", r)
			}
			uncover()
		},
		becomes: "completed",
	},
	rewriteFault("consolidate: ENOSPC", opWrite, ".qcow2", syscall.ENOSPC, rpc.ReasonNoSpace),
	rewriteFault("consolidate: EIO when a new image is flushed", opSync, ".qcow2", syscall.EIO, rpc.ReasonImageFailed),
	rewriteFault("consolidate: ESTALE when a new image is written", opWrite, ".qcow2", syscall.ESTALE, rpc.ReasonImageFailed),
	rewriteFault("consolidate: EIO when the new manifest is synced", opSync, "manifest.json", syscall.EIO, rpc.ReasonRepositoryFailed),
	rewriteFault("consolidate: EIO when the new manifest is named", opRename, ".merge-", syscall.EIO, rpc.ReasonRepositoryFailed),
	rewriteFault("consolidate: EIO when the directories are exchanged", opExchange, "", syscall.EIO, rpc.ReasonRepositoryFailed),
}

// rewriteFault fails one operation on what is to take the place of a restore point, or on a file in it.
func rewriteFault(name, operation, file string, errno syscall.Errno, reason rpc.Reason) fault {
	return fault{
		name:    name,
		promise: "refused with the reason; the old chain stands, and nothing is left; it succeeds when the fault is gone",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.daemon.up()
			c.untilState(c.begins(), rpc.Completed)
			ctx, cancel := c.limit()
			defer cancel()
			must(c.T, c.scribble())
			id, err := c.start(ctx, rpc.StartRequest{VMName: c.request.VMName, BackupType: rpc.Incremental, RequestID: "on it"})
			must(c.T, err)
			c.untilState(id, rpc.Completed)
			repository.failWhen(func(o, path string) syscall.Errno {
				if o == operation && (o == opExchange || strings.Contains(path, ".merge-")) && strings.Contains(path, file) {
					return errno
				}
				return 0
			})
			var said *rpc.Error
			if err := c.points.consolidates(id); !errors.As(err, &said) || said.Data.Reason != reason {
				c.Errorf("it ended with %v, want %s", err, reason)
			}
			if left, err := c.merges(); err != nil || len(left) > 0 || c.now(id).BackupType != rpc.Incremental {
				c.Errorf("left: %v, %v; it is %s", left, err, c.now(id).BackupType)
			}
			repository.heal()
			if err := c.points.consolidates(id); err != nil || c.now(id).BackupType != rpc.Full {
				c.Errorf("%v; it is %s", err, c.now(id).BackupType)
			}
			if r := c.points.verifies(id); r.Result != rpc.VerifyOK {
				c.Errorf("%+v", r)
			}
			uncover()
		},
		becomes: "completed",
	}
}

// verifies reads a restore point and all it stands on whole.
func (c pointSteps) verifies(id string) (r rpc.VerifyReport) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.VerifyBackup(ctx, rpc.VerifyRequest{BackupID: id, Deep: true}, nil)
		return err
	}))
	return r
}

func (c pointSteps) consolidates(id string) error {
	ctx, cancel := c.limit()
	defer cancel()
	return c.with(ctx, func(client *rpc.Client) error {
		_, err := client.SyntheticFull(ctx, id)
		return err
	})
}
