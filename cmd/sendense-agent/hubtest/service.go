package hubtest

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"syscall"
	"testing"
)

const DaemonUnit = "sendense-agent.service"

// ServiceHub is a hub whose daemon is a service, as it is where it is installed. heading stands in its configuration for the
// heading of that table, and may bring others.
func ServiceHub(t *testing.T, heading string, properties ...string) *Hub {
	t.Helper()
	h := HealthyHub(t)
	h.Daemon.End(syscall.SIGTERM)
	h.Config = h.Changed("[http]", heading).Config
	args := []string{"--quiet", "--unit", DaemonUnit, "--property=Type=notify", "--property=ExecReload=/bin/kill -HUP $MAINPID"}
	for _, p := range properties {
		args = append(args, "--property="+p)
	}
	args = append(args, "--", Program("sendense-agent"), "--config", h.Config)
	if out, err := exec.Command("systemd-run", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("systemctl", "stop", DaemonUnit).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if t.Failed() {
			t.Logf("the journal:\n%s", Journalctl(t, "-u", DaemonUnit, "-o", "short-precise"))
		}
	})
	return h
}

func Journalctl(t *testing.T, args ...string) []byte {
	t.Helper()
	Must(t, exec.Command("journalctl", "--sync").Run())
	out, err := exec.Command("journalctl", append([]string{"--quiet", "--no-pager"}, args...)...).Output()
	Must(t, err)
	return out
}

// Entries are lines of the journal with their fields.
func Entries(t *testing.T, match ...string) []map[string]any {
	t.Helper()
	var list []map[string]any
	decoder := json.NewDecoder(bytes.NewReader(Journalctl(t, append([]string{"-o", "json", "-u", DaemonUnit}, match...)...)))
	for decoder.More() {
		var e map[string]any
		Must(t, decoder.Decode(&e))
		list = append(list, e)
	}
	return list
}
