package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// How long restores live that are to end by themselves, in seconds: at once, or after what is to be done with them even on
// a busy machine.
const (
	briefly    = 1
	longEnough = 15
)

// serveNewest starts a writable restore of what the preparation left.
func serveNewest(ctx context.Context, c *crash, seconds int64) (r rpc.Restore, err error) {
	list, err := c.backups(ctx, c.vm)
	if err != nil {
		return r, err
	}
	err = c.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.StartRestore(ctx, rpc.RestoreRequest{BackupID: list[0].BackupID, Writable: true, LifetimeSeconds: seconds, VerifyDigests: true})
		return err
	})
	return r, err
}

// restoreAndStop writes to a restore and ends it.
func restoreAndStop(ctx context.Context, c *crash) error {
	r, err := serveNewest(ctx, c, longEnough)
	if err != nil {
		return answered(err)
	}
	if out, err := exec.CommandContext(ctx, "qemu-io", "-f", "raw", "-c", "write 0 64k", r.Disks[0].NBDURL).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return answered(c.with(ctx, func(client *rpc.Client) error {
		_, err := client.StopRestore(ctx, r.RestoreID)
		return err
	}))
}

func restoreThatExpires(ctx context.Context, c *crash) error {
	if _, err := serveNewest(ctx, c, briefly); err != nil {
		return answered(err)
	}
	return c.restoring.allEnded(ctx)
}

func killRestorer(ctx context.Context, c *crash) error {
	r, err := serveNewest(ctx, c, longEnough)
	if err != nil {
		return answered(err)
	}
	if err := syscall.Kill(r.Disks[0].QemuNBDPID, syscall.SIGKILL); err != nil {
		return err
	}
	return c.restoring.allEnded(ctx)
}

// allEnded waits until every restore has ended.
func (c restoreSteps) allEnded(ctx context.Context) error {
	for {
		list, err := c.restores(ctx)
		if err != nil || len(list) == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// takePortAfterFull holds the port that comes after those of the backup.
func takePortAfterFull(c *crash) {
	afterFull(c)
	c.takePort(len(c.vm.record.Disks))
}

// loseRestore leaves a restore that is being served, and no database that knows of it.
func loseRestore(c *crash) {
	afterFull(c)
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	_, err := serveNewest(ctx, c, longEnough)
	must(c.T, err)
	c.kill()
	must(c.T, os.Remove(c.db.path()))
}

// restoreCutShort leaves a restore whose exporters run, and which is not on record as served.
func restoreCutShort(c *crash) {
	afterFull(c)
	c.cutShort("committing restore serving", func(ctx context.Context, c *crash) error {
		_, err := serveNewest(ctx, c, longEnough)
		return err
	})
}

// overlaysLeft leaves the overlays of a restore that has ended while its repository was away.
func overlaysLeft(c *crash) {
	afterFull(c)
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	r, err := serveNewest(ctx, c, longEnough)
	must(c.T, err)
	repository := c.dir + "/repository"
	must(c.T, unix.Mount("tmpfs", repository, "tmpfs", 0, "")) // as it looks when it is not mounted
	must(c.T, c.with(ctx, func(client *rpc.Client) error {
		_, err := client.StopRestore(ctx, r.RestoreID)
		return err
	}))
	c.halt()
	must(c.T, unix.Unmount(repository, unix.MNT_DETACH))
	if _, err := os.Stat(r.Directory); err != nil {
		c.Errorf("the overlays have gone: %v", err)
	}
}

// overlaysSwept waits until they are gone.
func overlaysSwept(ctx context.Context, c *crash) error {
	for {
		if _, err := os.Stat(c.dir + "/repository/.restore"); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
