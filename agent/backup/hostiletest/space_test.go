package hostiletest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// A narrowDir has 150 MiB free, counted in blocks of 4 KiB, and prefers reads of 1 MiB, as FUSE file systems do.
type narrowDir struct{ *fs.LoopbackNode }

func (narrowDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const free = 150 << 20 / 4096
	*out = fuse.StatfsOut{Bsize: 1 << 20, Frsize: 4096, Blocks: 2 * free, Bfree: free, Bavail: free, Files: 1000, Ffree: 1000, NameLen: 255}
	return fs.OK
}

// mountOver mounts a file system of the test over a directory and shows the directory's content through it.
func mountOver(t *testing.T, path string, node func(*fs.LoopbackNode) fs.InodeEmbedder) {
	t.Helper()
	below := path + ".below"
	agenttest.Must(t, errors.Join(os.Mkdir(path, 0o755), os.Mkdir(below, 0o755)))
	top, err := fs.NewLoopbackRoot(below)
	agenttest.Must(t, err)
	_, err = fs.Mount(path, node(top.(*fs.LoopbackNode)), &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, AllowOther: true, Options: []string{"default_permissions"},
	}})
	agenttest.Must(t, err)
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

// TestSpaceOnFUSE: 150 MiB are not read as 37.5 GiB, so a backup is refused before it starts and not when the disk is full.
func TestSpaceOnFUSE(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Space = config.Space{Reserve: config.SizeOf(1 << 30)}
		path := filepath.Join(filepath.Dir(c.Repositories[0].Path), "narrow")
		mountOver(t, path, func(n *fs.LoopbackNode) fs.InodeEmbedder { return narrowDir{n} })
		c.Repositories[0].Path = path
	})
	status, err := w.Agent.RepositoryStatus(t.Context(), w.Config.Repositories[0].ID)
	agenttest.Must(t, err)
	if status.FreeBytes != 150<<20 || status.TotalBytes != 300<<20 {
		t.Errorf("%d of %d bytes are free", status.FreeBytes, status.TotalBytes)
	}
	vm, _ := w.PutVM("a", 1<<20)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm.Name, Type: record.Full, Repository: "main"})
	var refused *fault.Error
	if !errors.As(err, &refused) || refused.Reason != fault.NoSpace || !strings.Contains(err.Error(), "150 MiB free") {
		t.Errorf("the start was answered with: %v", err)
	}
}

// A hungDir does not answer questions about itself, like a dead server, until it is released.
type hungDir struct {
	*fs.LoopbackNode
	released chan struct{}
}

func (d hungDir) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	<-d.released
	return d.LoopbackNode.OpendirHandle(ctx, flags)
}

func (d hungDir) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	<-d.released
	return d.LoopbackNode.Statfs(ctx, out)
}

// TestRepositoryHangs: one repository that hangs does not block the start of the agent, its status, or work in other repositories.
func TestRepositoryHangs(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	began := time.Now()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		path := filepath.Join(filepath.Dir(c.Repositories[0].Path), "hung")
		mountOver(t, path, func(n *fs.LoopbackNode) fs.InodeEmbedder { return hungDir{n, released} })
		c.Repositories = append(c.Repositories, config.Repository{ID: "hung", Path: path})
		away, err := repositories.Apart(c)
		if err != nil || len(away) != 1 || !strings.Contains(away[0].Error(), `repository "hung": `+path+" does not answer") {
			t.Errorf("%v, away: %v", err, away)
		}
	})
	t.Cleanup(sync.OnceFunc(func() { close(released) })) // before the agent ends
	status := w.Agent.Status(t.Context())
	if took := time.Since(began); took > time.Minute {
		t.Errorf("start and status took %s", took)
	}
	if r := status.Repositories; r[0].Error != "" || !strings.Contains(r[1].Error, "does not answer") {
		t.Errorf("%+v", r)
	}
	w.PutVM("a", 1<<20)
	if b := w.Wait(w.StartBackup("a").ID); b.State != record.Completed {
		t.Errorf("%+v", b.Failure)
	}
	w.Eventually("the others are compared", func() bool { return !w.Agent.Catalog.State("main").At.IsZero() })
	if s := w.Agent.Catalog.State("hung"); !s.At.IsZero() {
		t.Errorf("the one that hangs was compared: %+v", s)
	}
}
