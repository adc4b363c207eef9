package survival_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// fuseEnv makes the test's executable a FUSE server: the directory that it shows, a colon, and where.
const fuseEnv = "SENDENSE_TEST_FUSE"

// serveFUSE shows a directory elsewhere until it is unmounted.
func serveFUSE(from, to string) error {
	root, err := fs.NewLoopbackRoot(from)
	if err != nil {
		return err
	}
	server, err := fs.Mount(to, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, AllowOther: true}})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	server.Wait()
	return nil
}

// A sick is a repository on a file system whose server can be stopped.
type sick struct {
	t      *testing.T
	path   string
	server *exec.Cmd
}

func mountSick(t *testing.T) *sick {
	t.Helper()
	dir := t.TempDir()
	hubtest.Must(t, os.Chmod(dir, 0o755))
	hubtest.Must(t, os.Chmod(filepath.Dir(dir), 0o755))
	from, to := dir+"/from", dir+"/to"
	hubtest.Must(t, errors.Join(os.Mkdir(from, 0o755), os.Mkdir(to, 0o755)))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fuseEnv+"="+from+":"+to)
	out, err := cmd.StdoutPipe()
	hubtest.Must(t, err)
	hubtest.Must(t, cmd.Start())
	line := make([]byte, 200)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "mounted\n" {
		t.Fatalf("fuse: %v %s", err, line[:n])
	}
	s := &sick{t: t, path: to, server: cmd}
	t.Cleanup(func() {
		s.answer()
		_ = unix.Unmount(to, unix.MNT_DETACH)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return s
}

func (s *sick) hang()   { systemdtest.StopProcess(s.t, s.server.Process.Pid) }
func (s *sick) answer() { hubtest.Must(s.t, s.server.Process.Signal(syscall.SIGCONT)) }

// TestSickRepository: one repository hangs while a backup is copied to it. Every request is answered within seconds, the other repository
// works, the backup can be canceled, the daemon stops and starts. When the repository answers again, nothing is left and it works.
func TestSickRepository(t *testing.T) {
	nas := mountSick(t)
	h := hubtest.New(t, fmt.Sprintf("[[repository]]\nid = \"nas\"\npath = %q\n", nas.path))
	sources := h.AddVM("healthy", 4<<20, 4<<20)
	h.AddVM("victim", 4<<20, 4<<20)
	others := h.AddVM("other", 4<<20)
	c := h.Dial()
	ctx := t.Context()
	start := func(vm, repository string, kind rpc.BackupType) (string, error) {
		r, err := c.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: kind, RepositoryID: repository})
		return r.BackupID, err
	}
	full, err := start("healthy", "main", rpc.Full)
	hubtest.Must(t, err)
	h.Completes(full, sources)
	old, err := start("other", "nas", rpc.Full)
	hubtest.Must(t, err)
	h.Completes(old, others)
	h.Hold("copy/0")
	victim, err := start("victim", "nas", rpc.Full)
	hubtest.Must(t, err)
	hubtest.Must(t, h.Get("wait", url.Values{"job": {victim}, "for": {"copy/0"}}, new(snatest.RunState)))
	nas.hang()
	h.Release("copy/0")

	answers := func(what string, limit time.Duration, f func(ctx context.Context) error) (err error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, limit+hubtest.Patience)
		defer cancel()
		began := time.Now()
		err = f(ctx)
		took := time.Since(began)
		t.Logf("%-32s %6.2f s  %v", what, took.Seconds(), err)
		if took > limit+time.Minute { // what a busy machine may add
			t.Errorf("%s took %s, the limit is %s", what, took, limit)
		}
		return err
	}
	const request = 5 * time.Second
	hubtest.Must(t, answers("status", request, func(ctx context.Context) error {
		s, err := c.Status(ctx)
		if err == nil && (s.Repositories[1].State != "stuck" || !strings.Contains(s.Repositories[1].Error, "nas does not answer since")) {
			err = fmt.Errorf("%+v", s.Repositories[1])
		}
		return err
	}))
	hubtest.Must(t, answers("repository list", request, func(ctx context.Context) error { _, err := c.ListRepositories(ctx); return err }))
	hubtest.Must(t, answers("backup chain", request, func(ctx context.Context) error {
		_, err := c.Chain(ctx, rpc.ChainRequest{VMName: "other"})
		return err
	}))
	hubtest.Must(t, answers("prune, dry run", request, func(ctx context.Context) error {
		_, err := c.Prune(ctx, rpc.PruneRequest{DryRun: true, All: true})
		return err
	}))
	_ = answers("doctor", request, func(ctx context.Context) error { _, err := c.Doctor(ctx); return err })
	refused := answers("backup start there", request, func(context.Context) error { _, err := start("other", "nas", rpc.Incremental); return err })
	if refused == nil || !strings.Contains(refused.Error(), "repository nas does not answer since") {
		t.Errorf("a backup to the sick repository: %v", refused)
	}

	again, err := start("healthy", "main", rpc.Incremental)
	hubtest.Must(t, err)
	h.Completes(again, sources)
	hubtest.Must(t, answers("verification elsewhere", hubtest.Patience, func(ctx context.Context) error {
		r, err := c.VerifyBackup(ctx, rpc.VerifyRequest{BackupID: again, Deep: true}, nil)
		if err == nil && r.Result != rpc.VerifyOK {
			err = fmt.Errorf("%+v", r)
		}
		return err
	}))
	before := footprint(t, h.Daemon.Cmd.Process.Pid)
	for range 200 {
		_, err := c.Status(ctx)
		hubtest.Must(t, err)
	}
	if after := footprint(t, h.Daemon.Cmd.Process.Pid); after.threads > before.threads+8 || after.files > before.files+8 {
		t.Errorf("200 requests: %+v, was %+v", after, before)
	}

	_ = answers("cancel there", 15*time.Second, func(ctx context.Context) error { _, err := c.CancelBackup(ctx, victim); return err })
	h.Eventually("the canceled backup has let go", func() bool {
		b, err := c.GetBackup(ctx, victim)
		return err == nil && b.State.Ended()
	})
	_ = c.Close()
	_ = answers("stop of the daemon", 10*time.Second, func(context.Context) error { h.Daemon.End(syscall.SIGTERM); return nil })
	h.Boot()
	c = h.Dial()
	again, err = start("healthy", "main", rpc.Incremental)
	hubtest.Must(t, err)
	h.Completes(again, sources)

	nas.answer()
	h.Eventually("the repository answers again", func() bool {
		r, err := c.GetRepository(ctx, "nas")
		return err == nil && r.Error == "" && r.State != "stuck"
	})
	h.Eventually("what the canceled backup made is removed", func() bool {
		left, err := filepath.Glob(nas.path + "/victim/*")
		return err == nil && len(left) == 0
	})
	h.Eventually("no exporter is left", func() bool { return len(hubtest.Exporters(t)) == 0 })
	last, err := start("other", "nas", rpc.Incremental)
	hubtest.Must(t, err)
	h.Completes(last, others)
}

// A print is what a process holds.
type print struct{ threads, files int }

func footprint(t *testing.T, pid int) print {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	hubtest.Must(t, err)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	hubtest.Must(t, err)
	return print{len(threads), len(files)}
}
