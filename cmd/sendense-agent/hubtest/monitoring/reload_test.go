package monitoring_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/nbd"
)

// TestLogLevel: the level changes while the daemon runs, over the socket and by a reload; a reload takes up nothing of a
// configuration that is wrong, and tells what needs a restart.
func TestLogLevel(t *testing.T) {
	h := hubtest.ServiceHub(t, "[http]")
	h.Steps(
		hubtest.Step(hubtest.Words("log-level"), 0, "info\n", ""),
		hubtest.Step(hubtest.Words("log-level debug"), 0, "debug\n", ""),
		hubtest.Step(hubtest.Words("log-level"), 0, "debug\n", ""),
		hubtest.Step(hubtest.Words("log-level DEBUG"), 1, "", "want debug, info, warn or error"),
		hubtest.Step(hubtest.Words("log-level -o json error"), 0, `"level": "error"`, ""),
	)
	whole, err := os.ReadFile(h.Config)
	hubtest.Must(t, err)
	reload := func(change func(string) string) {
		t.Helper()
		hubtest.Must(t, os.WriteFile(h.Config, []byte(change(string(whole))), 0o644))
		if out, err := exec.Command("systemctl", "reload", hubtest.DaemonUnit).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	logged := func(word string) {
		t.Helper()
		h.Eventually("the journal holds "+word, func() bool {
			return bytes.Contains(hubtest.Journalctl(t, "-u", hubtest.DaemonUnit, "-o", "cat"), []byte(word))
		})
	}
	reload(func(text string) string { return strings.Replace(text, "[http]", "[nbd]\nshared = 0\n[http]", 1) })
	logged("nbd.shared: 0: want 2 to 1024")
	logged("the old one stays")
	h.Steps(hubtest.Step(hubtest.Words("log-level"), 0, "error\n", ""))
	reload(func(text string) string {
		return strings.Replace(text, "[agent]", "[nbd]\nshared = 20\n[agent]\nlog_level = \"warn\"", 1)
	})
	logged("need a restart")
	logged("nbd.shared")
	h.Steps(hubtest.Step(hubtest.Words("log-level"), 0, "warn\n", ""))
	reload(func(text string) string { return text })
	logged("configuration reloaded")
	h.Steps(hubtest.Step(hubtest.Words("log-level"), 0, "info\n", ""))
	h.Eventually("the reload ends", func() bool {
		out, err := exec.Command("systemctl", "show", "--property=ActiveState,NRestarts", hubtest.DaemonUnit).Output()
		hubtest.Must(t, err)
		return strings.Contains(string(out), "ActiveState=active") && strings.Contains(string(out), "NRestarts=0")
	})
}

// TestReloadNotifies: systemd is told of the beginning and the end of a reload as Type=notify-reload wants it, also of one
// that takes up nothing.
func TestReloadNotifies(t *testing.T) {
	h := hubtest.New(t)
	h.Daemon.End(syscall.SIGTERM)
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	hubtest.Must(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	h.Boot()
	next := func() string {
		t.Helper()
		text := make([]byte, 4096)
		hubtest.Must(t, l.SetReadDeadline(time.Now().Add(hubtest.Patience)))
		n, err := l.Read(text)
		hubtest.Must(t, err)
		return string(text[:n])
	}
	for next() != "READY=1" {
	}
	for range 2 {
		h.Daemon.Signal(syscall.SIGHUP)
		if got := next(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*\n?$`).MatchString(got) {
			t.Errorf("at the beginning: %q", got)
		}
		if got := next(); got != "READY=1" {
			t.Errorf("at the end: %q", got)
		}
		hubtest.Must(t, os.WriteFile(h.Config, []byte("no configuration"), 0o644))
	}
}

// TestReloadZeroes: what becomes of WRITE_ZEROES changes by a reload, for the exports that are made after it, and the status warns.
func TestReloadZeroes(t *testing.T) {
	h := hubtest.ServiceHub(t, "[http]")
	ids, sources := map[string]string{}, map[string][]string{}
	zeroes := func(vm string) error {
		t.Helper()
		sources[vm] = h.AddVM(vm, 1<<20)
		ids[vm] = h.Held(vm, "disk/0")
		b, err := h.Dial().GetBackup(t.Context(), ids[vm])
		hubtest.Must(t, err)
		d := b.Disks[0]
		c, err := nbd.Dial(t.Context(), net.JoinHostPort("127.0.0.1", strconv.Itoa(int(d.NBDPort))), d.NBDExportName)
		hubtest.Must(t, err)
		defer c.Conn.Close()
		return c.WriteZeroes(0, 1<<20)
	}
	if err := zeroes("before"); !errors.Is(err, syscall.EIO) {
		t.Errorf("before: %v", err)
	}
	if code, out, _ := h.CTL("status"); code != 0 || strings.Contains(out, "warning") {
		t.Errorf("before: %d %s", code, out)
	}
	whole, err := os.ReadFile(h.Config)
	hubtest.Must(t, err)
	hubtest.Must(t, os.WriteFile(h.Config, bytes.Replace(whole, []byte("[http]"), []byte("[sna]\naccept_write_zeroes = true\n[http]"), 1), 0o644))
	if out, err := exec.Command("systemctl", "reload", hubtest.DaemonUnit).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.Eventually("the status warns", func() bool {
		_, out, _ := h.CTL("status")
		return strings.Contains(out, "warning: sna.accept_write_zeroes is set")
	})
	if err := zeroes("after"); err != nil {
		t.Errorf("after: %v", err)
	}
	h.Release("disk/0")
	for vm, id := range ids {
		h.Completes(id, sources[vm])
	}
}
