package storage

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/units/systemdtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// at is a repository at a path, over a real connection.
func at(id, path string) *Repository {
	return New(Options{Spec: Spec{ID: id, Path: path}, Connect: overPipe, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// overPipe serves a repository at the other end of a pipe, as its process does.
func overPipe(_ context.Context, s Spec) (Link, error) {
	here, there := net.Pipe()
	go func() { _ = Serve(context.Background(), there, NewFiles(s)) }()
	return NewLink(here, nil), nil
}

// serverEnv makes the test binary a FUSE server: the directory that it shows, a colon, and where.
const serverEnv = "STORAGE_TEST_FUSE"

func TestMain(m *testing.M) {
	if from, to, found := strings.Cut(os.Getenv(serverEnv), ":"); found {
		serveFUSE(from, to)
		return
	}
	os.Exit(m.Run())
}

func serveFUSE(from, to string) {
	root, err := fs.NewLoopbackRoot(from)
	if err == nil {
		var server *fuse.Server
		server, err = fs.Mount(to, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, AllowOther: true}})
		if err == nil {
			_, _ = os.Stdout.WriteString("mounted\n")
			server.Wait()
			return
		}
	}
	_, _ = os.Stdout.WriteString(err.Error() + "\n")
	os.Exit(1)
}

// A hanging is a FUSE file system whose server can be stopped.
type hanging struct {
	t      testing.TB
	path   string
	server *exec.Cmd
}

// mount shows an empty directory through a FUSE server of its own.
func mount(t testing.TB) *hanging {
	t.Helper()
	dir := t.TempDir()
	from, to := dir+"/from", dir+"/to"
	must(t, errors.Join(os.Mkdir(from, 0o755), os.Mkdir(to, 0o755)))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serverEnv+"="+from+":"+to)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil || string(line[:n]) != "mounted\n" {
		t.Fatalf("fuse: %v %s", err, line[:n])
	}
	h := &hanging{t: t, path: to, server: cmd}
	t.Cleanup(func() {
		h.resume()
		_ = unix.Unmount(to, unix.MNT_DETACH)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return h
}

func (h *hanging) stop()   { systemdtest.StopProcess(h.t, h.server.Process.Pid) }
func (h *hanging) resume() { must(h.t, h.server.Process.Signal(syscall.SIGCONT)) }

// within fails the test unless f returns within a limit.
func within(t testing.TB, limit time.Duration, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatalf("no answer within %s", limit)
		return nil
	}
}
