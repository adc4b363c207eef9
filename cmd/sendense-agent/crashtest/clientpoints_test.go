package crashtest_test

import (
	"context"
	"errors"
	"os/exec"
	"slices"

	"github.com/sendense/backup-agent/rpc"
)

// randomPolicy expires most of what a VM has, the midst of chains too.
const randomPolicy = "keep_last = 2\nkeep_yearly = 2\nexpired_middle = \"merge\""

// onPoint does one thing to a restore point of a VM.
func (c *client) onPoint(ctx context.Context, v *vm) {
	list, err := c.look(ctx, v)
	points := slices.DeleteFunc(list, func(b rpc.Backup) bool { return b.State != rpc.Completed })
	if err != nil || len(points) == 0 {
		return
	}
	id := points[c.random.IntN(len(points))].BackupID
	switch c.random.IntN(4) {
	default:
		c.restoreOne(ctx, id)
	case 0:
		c.verifyOne(ctx, id)
	case 1:
		c.consolidateOne(ctx, id)
	}
}

// restoreOne serves a restore point, reads all of it, and stops it or leaves it to its end. That comes later than the reading, so
// that nobody connects to a port which a backup has got meanwhile.
func (c *client) restoreOne(ctx context.Context, id string) {
	var r rpc.Restore
	err := c.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.StartRestore(ctx, rpc.RestoreRequest{
			BackupID: id, Writable: c.random.IntN(2) == 0, LifetimeSeconds: longEnough,
		})
		return err
	})
	if err != nil {
		c.refused(err, "restore of "+id)
		return
	}
	c.hub.mu.Lock()
	instants := c.instants[id]
	c.hub.mu.Unlock()
	for i, d := range r.Disks {
		out, err := exec.CommandContext(ctx, "qemu-img", "compare", "-f", "raw", "-F", "raw", instants[i], d.NBDURL).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 1 { // qemu-img(1): they differ; above it, as when it is served no longer, is an error
			c.Errorf("restore %s: disk %d is not what it was: %s", r.RestoreID, d.DiskID, out)
		}
	}
	if c.random.IntN(4) > 0 {
		err := c.with(ctx, func(client *rpc.Client) error {
			_, err := client.StopRestore(ctx, r.RestoreID)
			return err
		})
		c.refused(err, "stop of "+r.RestoreID)
	}
}

// verifyOne reads a restore point and all it stands on. Whatever crashes have left, none of it is damaged.
func (c *client) verifyOne(ctx context.Context, id string) {
	var report rpc.VerifyReport
	err := c.with(ctx, func(client *rpc.Client) (err error) {
		report, err = client.VerifyBackup(ctx, rpc.VerifyRequest{BackupID: id, Deep: true}, nil)
		return err
	})
	c.refused(err, "verification of "+id)
	if err == nil && report.Result == rpc.VerifyDamaged {
		c.Errorf("%s is damaged: %+v", id, report.Files)
	}
}

func (c *client) consolidateOne(ctx context.Context, id string) {
	err := c.with(ctx, func(client *rpc.Client) error {
		_, err := client.SyntheticFull(ctx, id)
		return err
	})
	c.refused(err, "consolidation of "+id)
}

// pruneOne applies the policies to a VM. Each of its backups may be deleted by that, at any time from here on.
func (c *client) pruneOne(ctx context.Context, v *vm) {
	list, err := c.backups(ctx, v)
	if err != nil {
		return
	}
	for _, b := range list {
		c.history.asks(deletes, b.BackupID)
	}
	var report rpc.PruneReport
	err = c.with(ctx, func(client *rpc.Client) (err error) {
		report, err = client.Prune(ctx, rpc.PruneRequest{VMName: v.record.VMName})
		return err
	})
	c.refused(err, "prune of "+v.record.VMName)
	for _, p := range report.Points {
		if p.Failure != nil && p.Failure.Reason == rpc.ReasonInternal {
			c.Errorf("prune of %s: %+v", p.BackupID, p.Failure)
		}
	}
}
