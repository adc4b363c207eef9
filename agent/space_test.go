package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// A narrowDir has 150 MiB free, counted in 4 KiB, and likes to be read in 1 MiB, as FUSE file systems do.
type narrowDir struct{ *fs.LoopbackNode }

func (narrowDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const free = 150 << 20 / 4096
	*out = fuse.StatfsOut{Bsize: 1 << 20, Frsize: 4096, Blocks: 2 * free, Bfree: free, Bavail: free, Files: 1000, Ffree: 1000, NameLen: 255}
	return fs.OK
}

// TestSpaceOnFUSE: 150 MiB are not taken for 37.5 GiB, so that a backup is refused before it begins and not when the disk is full.
func TestSpaceOnFUSE(t *testing.T) {
	var path string
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Space = config.Space{Reserve: config.SizeOf(1 << 30)}
		path = filepath.Join(filepath.Dir(c.Repositories[0].Path), "narrow")
		below := path + ".below"
		must(t, errors.Join(os.Mkdir(path, 0o755), os.Mkdir(below, 0o755)))
		top, err := fs.NewLoopbackRoot(below)
		must(t, err)
		_, err = fs.Mount(path, narrowDir{top.(*fs.LoopbackNode)}, &fs.Options{MountOptions: fuse.MountOptions{
			DirectMountStrict: true, AllowOther: true, Options: []string{"default_permissions"},
		}})
		must(t, err)
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
		c.Repositories[0].Path = path
	})
	status, err := w.agent.Repository(w.config.Repositories[0].ID)
	must(t, err)
	if status.FreeBytes != 150<<20 || status.TotalBytes != 300<<20 {
		t.Errorf("%d of %d bytes are free", status.FreeBytes, status.TotalBytes)
	}
	vm, _ := w.putVM("a", 1<<20)
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm.Name, Type: backup.Full, Repository: "main"})
	var refused *agent.Error
	if !errors.As(err, &refused) || refused.Reason != agent.NoSpace || !strings.Contains(err.Error(), "150 MiB free") {
		t.Errorf("the start was answered with: %v", err)
	}
}
