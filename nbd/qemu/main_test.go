package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/sockets"
)

func TestMain(m *testing.M) {
	for tool, pkg := range map[string]string{"qemu-nbd": "qemu-utils", "qemu-img": "qemu-utils", "qemu-io": "qemu-utils", "nbdcopy": "libnbd-bin"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "%s not found: install the Debian package %s\n", tool, pkg)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(templatesDir)
		os.Exit(code)
	}))
}

const MiB = 1 << 20

// patience bounds every wait, for a machine that is very busy: what takes longer hangs.
const patience = 5 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("not within "+patience.String()))
	t.Cleanup(cancel)
	return ctx
}

// tempDir is a directory that other users can reach; t.TempDir is not.
func tempDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "nbd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func newImage(t testing.TB, path string, size int64) string {
	t.Helper()
	spec := ImageSpec{Path: path, SizeBytes: size, ClusterBytes: FullClusterBytes, ExtendedL2: true}
	if err := (Tools{}).Create(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	return path
}

// server is a qemu-nbd on a listening socket that it inherited.
type server struct {
	addr   string
	port   uint16
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	once   sync.Once
	err    error
}

func startServer(t testing.TB, options ServerOptions) *server {
	t.Helper()
	options.Foreground = true
	if options.IO == (iomode.Mode{}) {
		options.IO = iomode.Buffered
	}
	args, err := options.Args()
	if err != nil {
		t.Fatal(err)
	}
	return startServerArgs(t, args)
}

func startServerArgs(t testing.TB, args []string) *server {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// LISTEN_PID must be the pid of qemu-nbd itself (sd_listen_fds(3)).
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh"}, args...)...)
	s := &server{addr: listener.Addr().String(), cmd: cmd, stderr: new(bytes.Buffer)}
	s.port = uint16(listener.Addr().(*net.TCPAddr).Port)
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = s.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil && !t.Failed() {
			t.Errorf("qemu-nbd did not end cleanly: %v: %s", err, s.stderr)
		}
	})
	return s
}

// stop ends qemu-nbd as systemd does, and returns how it ended.
func (s *server) stop() error {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		s.err = s.cmd.Wait()
	})
	return s.err
}

// wait waits for a qemu-nbd that ends by itself, and returns how it ended.
func (s *server) wait() error {
	s.once.Do(func() { s.err = s.cmd.Wait() })
	err := s.err
	s.err = nil // the caller expects it
	return err
}

// qemuIO runs one command of qemu-io on an image.
func qemuIO(t testing.TB, path, command string) {
	t.Helper()
	if output, err := exec.Command("qemu-io", "-f", "qcow2", "-c", command, path).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io %s: %v: %s", command, err, output)
	}
}

// otherUser is another user if the test can become one, and otherwise its own.
func otherUser() *syscall.Credential {
	if os.Getuid() == 0 {
		return &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	return &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true}
}

// wantEstablished waits until a port has that many clients.
func wantEstablished(t *testing.T, port uint16, want int) {
	t.Helper()
	var got int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		if got, err = sockets.Established(port); err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
	}
	t.Fatalf("%d established connections, want %d", got, want)
}
