package crashtest_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/rpc"
)

// roomy has the agent itself not look at how much room there is, so that the fault reaches qemu-nbd.
var roomy = map[string]string{
	"space.reserve": `"0B"`, "space.floor": `"0B"`, "deadlines.client_gone": `"3s"`, "deadlines.first_connection": `"3s"`,
}

// repositoryFaults are those of the repository: of images and of the manifest.
var repositoryFaults = []fault{
	{
		name:    "image: ENOSPC",
		promise: "the client is told and gives up; failed within seconds, because it left; images gone",
		config:  roomy,
		act: func(c *crash) {
			fill := c.smallRepository(24 << 20)
			b := c.midCopy()
			empty := fill(512 << 10)
			c.release()
			c.fails(b.BackupID, rpc.ReasonClientGone)
			if run, _ := c.sna.State().Run(b.BackupID); !strings.Contains(strings.ToLower(run.Error), "no space") {
				c.Errorf("the client ended with %q", run.Error)
			}
			empty()
		},
		becomes: "failed",
	},
	{
		name:    "image: less room than space.floor",
		promise: "failed with no_space before the disk is full; a start is refused with no_space",
		config:  map[string]string{"space.reserve": `"12MiB"`, "space.floor": `"4MiB"`},
		act: func(c *crash) {
			fill := c.smallRepository(32 << 20)
			b := c.midCopy()
			empty := fill(2 << 20)
			c.fails(b.BackupID, rpc.ReasonNoSpace, "space.floor")
			first := c.request
			c.request.RequestID = "refused"
			c.refused(rpc.ReasonNoSpace, "space.reserve")
			c.request = first
			empty()
			c.release()
		},
		becomes: "failed",
	},
	{
		name:    "image: EIO while it is written (QEMU blkdebug)",
		promise: "the client is told and gives up; failed within seconds, because it left; images gone",
		config:  roomy,
		act: func(c *crash) {
			c.exporters.wrap(blkdebug)
			c.daemon.up()
			id := c.begins()
			c.fails(id, rpc.ReasonClientGone)
			if run, _ := c.sna.State().Run(id); !strings.Contains(run.Error, "input/output error") {
				c.Errorf("the client ended with %q", run.Error)
			}
			c.exporters.wrap("")
		},
		becomes: "failed",
	},
	{
		name:    "image: EIO when it is flushed",
		promise: "no restore point, though all was copied and reported",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.sna.Hold("disconnect/1")
			b := c.midCopy()
			c.robbed[b.BackupID] = true
			c.release()
			c.untilState(b.BackupID, rpc.Finishing)
			repository.failWhen(func(operation, path string) syscall.Errno {
				if operation == opSync && strings.HasSuffix(path, "disk0.qcow2") {
					return syscall.EIO
				}
				return 0
			})
			c.sna.Release("disconnect/1")
			c.fails(b.BackupID, rpc.ReasonExporterFailed, "disk 0", "cannot be flushed")
			uncover()
		},
		becomes: "failed",
	},
	{
		name:    "image: ESTALE on each open file in mid copy, as after an NFS server was replaced",
		promise: "failed within seconds; what it made is removed when the server is back; the restore point before is whole",
		config:  roomy,
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			c.points.backUp(rpc.Full)
			c.request.BackupType = rpc.Incremental
			b := c.midCopy()
			c.robbed[b.BackupID] = true
			repository.failWhen(func(operation, path string) syscall.Errno {
				if strings.Contains(path, b.BackupID) && operation != opClose {
					return syscall.ESTALE
				}
				return 0
			})
			c.release()
			c.eventually("it has failed, or waits for its repository", func() bool {
				state := c.now(b.BackupID).State
				return state == rpc.Undoing || state.Ended()
			})
			if state := c.now(b.BackupID).State; state == rpc.Completed {
				c.Errorf("the backup is %s", state)
			}
			repository.heal()
			c.allEnd()
			c.eventually("what it made is removed", func() bool {
				_, err := os.Lstat(b.Directory)
				return errors.Is(err, os.ErrNotExist)
			})
			if r := c.points.verifies(b.ParentBackupID); r.Result != rpc.VerifyOK {
				c.Errorf("%+v", r)
			}
			uncover()
		},
		becomes: "failed",
	},
	manifestFault("manifest: ENOSPC", opWrite, syscall.ENOSPC, rpc.ReasonNoSpace, "writing the manifest", "no space left"),
	manifestFault("manifest: EIO when it is written", opWrite, syscall.EIO, rpc.ReasonRepositoryFailed, "writing the manifest", "input/output error"),
	manifestFault("manifest: EIO when it is synced", opSync, syscall.EIO, rpc.ReasonRepositoryFailed, "writing the manifest", "input/output error"),
	manifestFault("manifest: EIO when it is renamed", opRename, syscall.EIO, rpc.ReasonRepositoryFailed, "committing the manifest", "input/output error"),
	{
		name:    "manifest: EIO after its rename",
		promise: "completed: it stands, and its directory is synced until that succeeds",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			var renamed atomic.Bool
			repository.failWhen(func(operation, path string) syscall.Errno {
				switch {
				case operation == opRename && strings.HasSuffix(path, "manifest.json"):
					renamed.Store(true)
				case operation == opSyncDir && renamed.Load():
					return syscall.EIO
				}
				return 0
			})
			c.daemon.up()
			id := c.begins()
			c.daemon.says("the restore point may not be on the disk yet; the write is repeated")
			if b := c.now(id); b.State != rpc.Finishing {
				c.Errorf("the backup is %s", b.State)
			}
			repository.heal()
			c.untilState(id, rpc.Completed)
			uncover()
		},
		becomes: "completed",
	},
}

// manifestFault fails one operation on the manifest, until the backup has failed.
func manifestFault(name, operation string, errno syscall.Errno, reason rpc.Reason, words ...string) fault {
	return fault{
		name:    name,
		promise: "failed, saying which step and why; no half restore point",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			repository.failWhen(func(o, path string) syscall.Errno {
				if o == operation && strings.Contains(path, "manifest.json") {
					return errno
				}
				return 0
			})
			c.daemon.up()
			id := c.begins()
			c.robbed[id] = true
			c.fails(id, reason, words...)
			if left := c.manifests(); len(left) > 0 {
				c.Errorf("left: %v", left)
			}
			uncover()
		},
		becomes: "failed",
	}
}

// blkdebug has qemu-nbd serve disk 0 with QEMU's blkdebug beneath the image, where every write fails with EIO.
const blkdebug = `case "$image" in *disk0.qcow2)
n=$#; i=0
while [ $i -lt $n ]; do
a=$1; shift; i=$((i+1))
[ "$a" != "$node" ] || a=$(printf %s "$node" | sed 's/{"driver":"file",\("filename":"[^"]*"\)}/{"driver":"blkdebug","image":{"driver":"file",\1},"inject-error":[{"event":"none","iotype":"write","errno":5}]}/')
set -- "$@" "$a"
done;;
esac`

// leakClusters has every image of disk 0 begin with a cluster that is counted as used and is not: the write of the metadata that
// was to lead to it failed, and its writer was killed before it could give it back.
func leakClusters(c *crash) {
	c.exporters.wrap(`case "$image" in *disk0.qcow2)
qemu-io -c 'write -q 0 64k' -c flush -c abort --image-opts "driver=qcow2,file.driver=blkdebug,file.image.driver=file,\
file.image.filename=$image,file.inject-error.0.event=l1_update,file.inject-error.0.errno=5" >/dev/null 2>&1;;
esac`)
}

// smallRepository puts the repository on a file system of a size. fill leaves so many bytes of it free, until empty is called.
func (c *crash) smallRepository(size int) (fill func(left uint64) (empty func())) {
	c.Helper()
	path := c.dir + "/repository"
	must(c.T, unix.Mount("tmpfs", path, "tmpfs", 0, "mode=755,size="+strconv.Itoa(size)))
	c.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	ballast := path + "/ballast"
	return func(left uint64) func() {
		c.Helper()
		space, err := repository.SpaceAt(path)
		must(c.T, err)
		free := space.Free
		if free < left {
			c.Fatalf("%d bytes are free, %d should stay", free, left)
		}
		must(c.T, os.WriteFile(ballast, make([]byte, free-left), 0o600))
		return func() { must(c.T, os.Remove(ballast)) }
	}
}
