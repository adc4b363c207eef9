package main_test

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

	"github.com/sendense/backup-agent/nbd"
)

// TestLogLevel: the level changes while the daemon runs, over the socket and by a reload; a reload takes up nothing of a
// configuration that is wrong, and tells what needs a restart.
func TestLogLevel(t *testing.T) {
	h := serviceHub(t, "[http]")
	h.steps(
		step{words("log-level"), 0, "info\n", ""},
		step{words("log-level debug"), 0, "debug\n", ""},
		step{words("log-level"), 0, "debug\n", ""},
		step{words("log-level DEBUG"), 1, "", "want debug, info, warn or error"},
		step{words("log-level -o json error"), 0, `"level": "error"`, ""},
	)
	whole, err := os.ReadFile(h.config)
	must(t, err)
	reload := func(change func(string) string) {
		t.Helper()
		must(t, os.WriteFile(h.config, []byte(change(string(whole))), 0o644))
		if out, err := exec.Command("systemctl", "reload", daemonUnit).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	logged := func(word string) {
		t.Helper()
		h.eventually("the journal holds "+word, func() bool { return bytes.Contains(journalctl(t, "-u", daemonUnit, "-o", "cat"), []byte(word)) })
	}
	reload(func(text string) string { return strings.Replace(text, "[http]", "[nbd]\nshared = 0\n[http]", 1) })
	logged("nbd.shared: 0: want 2 to 1024")
	logged("the old one stays")
	h.steps(step{words("log-level"), 0, "error\n", ""})
	reload(func(text string) string {
		return strings.Replace(text, "[agent]", "[nbd]\nshared = 20\n[agent]\nlog_level = \"warn\"", 1)
	})
	logged("need a restart")
	logged("nbd.shared")
	h.steps(step{words("log-level"), 0, "warn\n", ""})
	reload(func(text string) string { return text })
	logged("configuration reloaded")
	h.steps(step{words("log-level"), 0, "info\n", ""})
	h.eventually("the reload ends", func() bool {
		out, err := exec.Command("systemctl", "show", "--property=ActiveState,NRestarts", daemonUnit).Output()
		must(t, err)
		return strings.Contains(string(out), "ActiveState=active") && strings.Contains(string(out), "NRestarts=0")
	})
}

// TestReloadNotifies: systemd is told of the beginning and the end of a reload as Type=notify-reload wants it, also of one
// that takes up nothing.
func TestReloadNotifies(t *testing.T) {
	h := newHub(t)
	h.daemon.end(syscall.SIGTERM)
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	must(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	h.boot()
	next := func() string {
		t.Helper()
		text := make([]byte, 4096)
		must(t, l.SetReadDeadline(time.Now().Add(patient)))
		n, err := l.Read(text)
		must(t, err)
		return string(text[:n])
	}
	for next() != "READY=1" {
	}
	for range 2 {
		h.daemon.signal(syscall.SIGHUP)
		if got := next(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*\n?$`).MatchString(got) {
			t.Errorf("at the beginning: %q", got)
		}
		if got := next(); got != "READY=1" {
			t.Errorf("at the end: %q", got)
		}
		must(t, os.WriteFile(h.config, []byte("no configuration"), 0o644))
	}
}

// TestReloadZeroes: what becomes of WRITE_ZEROES changes by a reload, for the exports that are made after it, and the status warns.
func TestReloadZeroes(t *testing.T) {
	h := serviceHub(t, "[http]")
	ids, sources := map[string]string{}, map[string][]string{}
	zeroes := func(vm string) error {
		t.Helper()
		sources[vm] = h.addVM(vm, 1<<20)
		ids[vm] = h.held(vm, "disk/0")
		b, err := h.dial().GetBackup(t.Context(), ids[vm])
		must(t, err)
		d := b.Disks[0]
		c, err := nbd.Dial(t.Context(), net.JoinHostPort("127.0.0.1", strconv.Itoa(int(d.NBDPort))), d.NBDExportName)
		must(t, err)
		defer c.Conn.Close()
		return c.WriteZeroes(0, 1<<20)
	}
	if err := zeroes("before"); !errors.Is(err, syscall.EIO) {
		t.Errorf("before: %v", err)
	}
	if code, out, _ := h.ctl("status"); code != 0 || strings.Contains(out, "warning") {
		t.Errorf("before: %d %s", code, out)
	}
	whole, err := os.ReadFile(h.config)
	must(t, err)
	must(t, os.WriteFile(h.config, bytes.Replace(whole, []byte("[http]"), []byte("[sna]\naccept_write_zeroes = true\n[http]"), 1), 0o644))
	if out, err := exec.Command("systemctl", "reload", daemonUnit).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.eventually("the status warns", func() bool {
		_, out, _ := h.ctl("status")
		return strings.Contains(out, "warning: sna.accept_write_zeroes is set")
	})
	if err := zeroes("after"); err != nil {
		t.Errorf("after: %v", err)
	}
	h.release("disk/0")
	for vm, id := range ids {
		h.completes(id, sources[vm])
	}
}
