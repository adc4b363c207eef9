package crashtest_test

import (
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/rpc"
)

// squeezeFaults are those of an image while it is reduced to what differs from the parent.
var squeezeFaults = []fault{
	squeezeFault("squeeze: ENOSPC when the new image is written", opWrite, syscall.ENOSPC),
	squeezeFault("squeeze: EIO when the new image is synced", opSync, syscall.EIO),
}

// squeezeFault fails one operation on the new image.
func squeezeFault(name, operation string, errno syscall.Errno) fault {
	return fault{
		name:    name,
		promise: "completed: the image stays as the client wrote it, and nothing is left of the new one",
		config:  map[string]string{"squeeze.min_size": `"1B"`},
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			diskReplaced(c)
			c.boot()
			repository.failWhen(func(o, path string) syscall.Errno {
				if o == operation && strings.HasSuffix(path, ".squeezed") {
					return errno
				}
				return 0
			})
			c.request.BackupType = rpc.Incremental
			id := c.begins()
			c.untilState(id, rpc.Completed)
			repository.heal()
			if d := c.now(id).Disks[1]; d.WrittenBytes != 0 || d.Content != "full" || d.Backing != "" {
				c.Errorf("%+v", d)
			}
			if r := c.points.verifies(id); r.Result != rpc.VerifyOK {
				c.Errorf("%+v", r)
			}
			uncover()
		},
		becomes: "completed",
	}
}
