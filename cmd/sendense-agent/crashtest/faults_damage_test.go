package crashtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// damageFaults are those of restore points that somebody, or a file system, has changed before they are restored.
var damageFaults = []fault{
	damageFault("restore: an image was cut short", true, func(c *crash, image string) {
		info, err := os.Stat(image)
		must(c.T, err)
		must(c.T, os.Truncate(image, info.Size()-1<<20))
	}),
	damageFault("restore: the owner of an image was changed", true, func(c *crash, image string) { must(c.T, os.Chown(image, 4001, -1)) }),
	damageFault("restore: everybody may write an image", true, func(c *crash, image string) { must(c.T, os.Chmod(image, 0o666)) }),
	damageFault("restore: an image names another file as its backing", false, func(c *crash, image string) {
		must(c.T, os.Chmod(image, 0o600))
		out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", image).CombinedOutput()
		if err != nil {
			c.Fatalf("%v: %s", err, out)
		}
		must(c.T, os.Chmod(image, 0o440))
	}),
	damageFault("restore: the header of an image was zeroed", false, func(c *crash, image string) {
		f, err := os.OpenFile(image, os.O_WRONLY, 0)
		must(c.T, err)
		defer f.Close()
		_, err = f.WriteAt(make([]byte, 512), 0)
		must(c.T, err)
	}),
	damageFault("restore: an image is gone", false, func(c *crash, image string) { must(c.T, os.Remove(image)) }),
	{
		name:    "restore: stopped while an image is read for its digest",
		promise: "it ends at once; nothing is served, nothing is left, and the restore point is not marked",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			repository.failWhen(func(operation, path string) syscall.Errno {
				if operation == opRead && strings.HasSuffix(path, ".qcow2") {
					time.Sleep(50 * time.Millisecond) // a slow disk
				}
				return 0
			})
			answer := make(chan error, 1)
			go func() {
				ctx, cancel := c.limit()
				defer cancel()
				answer <- c.with(ctx, func(client *rpc.Client) error {
					_, err := client.StartRestore(ctx, rpc.RestoreRequest{BackupID: id, VerifyDigests: true})
					return err
				})
			}()
			var r rpc.Restore
			c.eventually("an image is read", func() bool {
				ctx, cancel := c.limit()
				defer cancel()
				list, err := c.restores(ctx)
				if err != nil || len(list) != 1 {
					return false
				}
				r = list[0]
				return r.Progress != nil && strings.HasSuffix(r.Progress.File, ".qcow2") && r.Progress.BytesTotal > 0
			})
			c.restoring.stops(r.RestoreID)
			if err := <-answer; err == nil {
				c.Errorf("the start has succeeded")
			}
			if now := c.restoring.get(r.RestoreID); now.DigestsVerified || len(now.NBDTargetsString) > 0 {
				c.Errorf("it was served: %+v", now)
			}
			if b := c.now(id); b.Damaged() {
				c.Errorf("on record as damaged: %+v", b.Verified)
			}
			repository.heal()
			uncover()
		},
		becomes: "completed",
	},
}

// damageFault changes an image of a restore point, and puts it back. left says whether what is left of it can be read at all.
func damageFault(name string, left bool, harm func(c *crash, image string)) fault {
	return fault{
		name:    name,
		promise: "refused as damaged, with the file's name, and on record; in spite of that served where QEMU can read it, and told; whole when it is put back",
		act: func(c *crash) {
			c.daemon.up()
			id := c.begins()
			c.untilState(id, rpc.Completed)
			images, err := filepath.Glob(filepath.Join(c.dir, "repository", "*", id, "*-disk0.qcow2"))
			if err != nil || len(images) != 1 {
				c.Fatalf("images %v, %v", images, err)
			}
			image, kept := images[0], filepath.Join(c.dir, "kept.qcow2")
			c.copies(image, kept)
			harm(c, image)
			_, err = c.restoring.serves(id, false)
			c.said(err, rpc.ReasonDamaged, image)
			if !c.now(id).Damaged() {
				c.Errorf("it is not on record: %+v", c.now(id).Verified)
			}
			r, err := c.restoring.servesLeft(id)
			if !left {
				c.said(err, rpc.ReasonDamaged, image)
			} else {
				must(c.T, err)
				if len(r.Damage) != 1 || r.Damage[0].Path != image {
					c.Errorf("it tells of %+v", r.Damage)
				}
				c.restoring.stops(r.RestoreID)
			}
			must(c.T, os.RemoveAll(image))
			c.copies(kept, image)
			must(c.T, os.Remove(kept))
			if v := c.points.verifies(id); v.Result != rpc.VerifyOK {
				c.Errorf("%+v", v)
			}
			r, err = c.restoring.serves(id, false)
			must(c.T, err)
			c.restoring.readsRight(r)
			c.restoring.stops(r.RestoreID)
		},
		becomes: "completed",
	}
}

func (c *crash) copies(from, to string) {
	c.Helper()
	if out, err := exec.Command("cp", "--archive", from, to).CombinedOutput(); err != nil {
		c.Fatalf("%v: %s", err, out)
	}
}

// servesLeft starts a restore in spite of damage.
func (c restoreSteps) servesLeft(id string) (r rpc.Restore, err error) {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	err = c.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.StartRestore(ctx, rpc.RestoreRequest{BackupID: id, DespiteDamage: true})
		return err
	})
	return r, err
}
