package units

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

func TestMain(m *testing.M) { systemdtest.Main(m) }

const testSlice = "sendense-nbd.slice"

// patience bounds every wait, for a machine that is very busy: what takes longer hangs.
const patience = 5 * time.Minute

// open connects to the system's service manager and closes the connection with the test.
func open(t testing.TB) *Manager { return openWith(t, Options{Slice: testSlice}) }

func openWith(t testing.TB, o Options) *Manager {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	m, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// newName returns a new pair name for this test, and removes the pair at the end.
func newName(t testing.TB, m *Manager) string {
	t.Helper()
	var nonce [4]byte
	_, _ = rand.Read(nonce[:])
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	name := fmt.Sprintf("test-%s-%s", clean, hex.EncodeToString(nonce[:]))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := m.Remove(ctx, name); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return name
}

// freeAddress returns an address on which nothing listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// shell makes a Spec whose process runs a script in the background, as qemu-nbd --fork does.
func shell(t testing.TB, m *Manager, script string) pair.Spec {
	t.Helper()
	return pair.Spec{
		Name:          newName(t, m),
		Argv:          []string{"/bin/sh", "-c", "(" + script + ") & exit 0"},
		ListenAddress: freeAddress(t),
	}
}

// sleeper runs until SIGTERM, and then exits with status 0.
const sleeper = `trap "exit 0" TERM; while :; do sleep 0.05; done`

// exits runs until it gets SIGUSR1, see awaitTrap, and then exits by itself.
func exits(status int) string {
	return fmt.Sprintf(`trap "exit %d" USR1; while :; do sleep 0.05; done`, status)
}

func mustStart(t testing.TB, m *Manager, s pair.Spec) Unit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	u, err := m.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// mustAwait waits for a state of a pair; what names it, should it never come.
func mustAwait(t testing.TB, m *Manager, name, what string, done func(Unit) bool) Unit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	u, err := m.await(ctx, name, done)
	if err != nil {
		t.Fatalf("%s: waiting until it has %s: %v; it is %+v", name, what, err, u)
	}
	return u
}

// newImage makes an image on a real disk, owned by the exporters' user.
func newImage(t testing.TB, size string) string {
	t.Helper()
	dir := filepath.Join(systemdtest.DiskDir(t), "images")
	run(t, "install", "-d", "-o", "sendense-nbd", "-g", "sendense-nbd", dir)
	image := filepath.Join(dir, "disk0.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", image, size)
	run(t, "chown", "sendense-nbd:", image)
	return image
}

// qemuNBD exports an image with the whole sandbox.
func qemuNBD(t testing.TB, m *Manager, image string) pair.Spec {
	t.Helper()
	return pair.Spec{
		Name: newName(t, m),
		Argv: []string{
			"/usr/bin/qemu-nbd", "--fork", "-t", "-e", "10", "-x", "disk0", "-f", "qcow2",
			"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=unmap", image,
		},
		ListenAddress: freeAddress(t),
		User:          "sendense-nbd",
		Group:         "sendense-nbd",
		HiddenDirs:    []string{filepath.Dir(filepath.Dir(image))},
		WritableDirs:  []string{filepath.Dir(image)},
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// eventually waits for a condition that no call or event reports.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// awaitTrap waits until a process catches or ignores a signal: see SigCgt and SigIgn in proc_pid_status(5).
func awaitTrap(t testing.TB, pid int, s syscall.Signal) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d has a trap for %v", pid, s), func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			name, mask, _ := strings.Cut(line, ":")
			if name != "SigCgt" && name != "SigIgn" {
				continue
			}
			signals, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if signals&(1<<(s-1)) != 0 {
				return true
			}
		}
		return false
	})
}

func alive(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
