package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
)

// sandboxSetting tells the settings of the packaged unit that confine the daemon from those that run it.
var sandboxSetting = regexp.MustCompile(`(?m)^(?:CapabilityBoundingSet|NoNewPrivileges|Protect\w+|Private\w+|DevicePolicy|Restrict\w+|` +
	`LockPersonality|MemoryDenyWriteExecute|RemoveIPC|KeyringMode|UMask|SystemCall\w+)=.*$`)

// TestConfinedWithinTheSandbox: the daemon's own sandbox, as it is packaged, lets it confine qemu-img. One that does not is told of,
// and qemu-img works all the same.
func TestConfinedWithinTheSandbox(t *testing.T) {
	h := healthyHub(t)
	within := func(leaveOut string) doctor.Report {
		t.Helper()
		r := h.doctorWithin(t, leaveOut, "-p", "BindPaths="+h.dir)
		h.finds(r, doctor.OK, "features", "/usr/bin/qemu-nbd", "extended_l2")
		return r
	}
	for _, f := range within("").Findings {
		if f.Check == "qemu-img" && f.Status != doctor.OK {
			t.Errorf("%+v", f)
		}
	}
	h.finds(within("landlock_restrict_self"), doctor.Warning, "qemu-img", "/usr/bin/qemu-img", "landlock", "SystemCallFilter=")
}

// doctorWithin runs the doctor in the sandbox of the packaged unit, of which a part may be left out.
func (h *hub) doctorWithin(t *testing.T, leaveOut string, more ...string) doctor.Report {
	t.Helper()
	unit, err := os.ReadFile("../../packaging/systemd/sendense-agent.service")
	must(t, err)
	settings := sandboxSetting.FindAllString(string(unit), -1)
	if len(settings) < 25 {
		t.Fatalf("only %q of the packaged unit", settings)
	}
	text, err := os.ReadFile(program("sendense-agent"))
	must(t, err)
	binary := filepath.Join(h.dir, "sendense-agent")
	must(t, os.WriteFile(binary, text, 0o755))
	args := append([]string{"--wait", "--pipe", "--quiet"}, more...)
	for _, s := range settings {
		if leaveOut == "" || !strings.Contains(s, leaveOut) {
			args = append(args, "-p", s)
		}
	}
	cmd := exec.CommandContext(t.Context(), "systemd-run", append(args, binary, "doctor", "--config", h.config, "--output", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output() // it ends with 1 when anything is wrong; what is of interest is in the report
	var r doctor.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s %s", err, out, stderr.String())
	}
	return r
}
