package hubtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
)

// HealthyHub is a hub of which the doctor has nothing to say.
func HealthyHub(t *testing.T, extra ...string) *Hub {
	t.Helper()
	h := New(t, extra...)
	Must(t, os.Chmod(filepath.Join(h.Dir, "state"), 0o700))
	return h
}

// Doctor runs the doctor as root and reads its report; the exit code must be that of what it found.
func (h *Hub) Doctor(args ...string) doctor.Report {
	h.Helper()
	return h.DoctorAs(nil, Program("sendense-agent"), args...)
}

func (h *Hub) DoctorAs(user *syscall.Credential, path string, args ...string) doctor.Report {
	h.Helper()
	p := StartAs(h.T, user, path, append([]string{"doctor", "--config", h.Config, "--output", "json"}, args...)...)
	code, exited := p.Exited(2 * Patience)
	if !exited {
		h.Fatalf("the doctor does not end: %s", p.Stderr())
	}
	var r doctor.Report
	if err := json.Unmarshal([]byte(p.Stdout()), &r); err != nil {
		h.Fatalf("%v: %s %s", err, p.Stdout(), p.Stderr())
	}
	if want := map[bool]int{true: 1, false: 0}[r.Errors > 0]; code != want || (code != 0) != strings.Contains(p.Stderr(), "named above") {
		h.Errorf("exit code %d with %d errors: %s", code, r.Errors, p.Stderr())
	}
	for _, f := range r.Findings {
		if f.Message == "" || f.Hint == "" && (f.Status == doctor.Error || f.Status == doctor.Warning) {
			h.Errorf("without words: %+v", f)
		}
	}
	h.NothingLeft()
	return r
}

// NothingLeft looks that the doctor has left no unit, no directory and no file.
func (h *Hub) NothingLeft() {
	h.Helper()
	out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-doctor-*").CombinedOutput()
	if err == nil && len(out) > 0 { // without a bus there is nobody to ask
		h.Errorf("units are left: %s", out)
	}
	for _, pattern := range []string{filepath.Join(h.Dir, "repository", ".*"), filepath.Join(os.TempDir(), "sendense-doctor-*")} {
		left, err := filepath.Glob(pattern)
		Must(h.T, err)
		if len(left) > 0 {
			h.Errorf("left: %q", left)
		}
	}
}

// Troubles are the findings that are errors or warnings, one line each.
func Troubles(r doctor.Report) []string {
	var list []string
	for _, f := range r.Findings {
		if f.Status == doctor.Error || f.Status == doctor.Warning {
			list = append(list, fmt.Sprintf("%s %s %s: %s (%s) %v", f.Status, f.Check, f.Object, f.Message, f.Hint, f.Facts))
		}
	}
	return list
}

// Finds wants a finding of a check about an object, with that status, whose message, hint and facts hold all the words.
func (h *Hub) Finds(r doctor.Report, status doctor.Status, check, object string, words ...string) {
	h.Helper()
	for _, f := range r.Findings {
		text := fmt.Sprint(f.Message, f.Hint, f.Facts)
		missing := slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
		if f.Status == status && f.Check == check && f.Object == object && !missing {
			return
		}
	}
	all, _ := json.MarshalIndent(r.Findings, "", " ")
	h.Errorf("no %s of %s about %q that holds %q in:\n%s", status, check, object, words, all)
}

// Changed has the doctor look through a configuration in which something is different; the daemon keeps its own.
func (h *Hub) Changed(old, changed string) *Hub {
	h.Helper()
	text, err := os.ReadFile(h.Config)
	Must(h.T, err)
	if !strings.Contains(string(text), old) {
		h.Fatalf("%q is not in the configuration", old)
	}
	other := *h
	other.Config = filepath.Join(h.TempDir(), "config.toml")
	Must(h.T, os.WriteFile(other.Config, []byte(strings.Replace(string(text), old, changed, 1)), 0o644))
	return &other
}

// SandboxSetting tells the settings of the packaged unit that confine the daemon from those that run it.
var SandboxSetting = regexp.MustCompile(`(?m)^(?:CapabilityBoundingSet|NoNewPrivileges|Protect\w+|Private\w+|DevicePolicy|Restrict\w+|` +
	`LockPersonality|MemoryDenyWriteExecute|RemoveIPC|KeyringMode|UMask|SystemCall\w+)=.*$`)

// DoctorWithin runs the doctor in the sandbox of the packaged unit, of which a part may be left out.
func (h *Hub) DoctorWithin(t *testing.T, leaveOut string, more ...string) doctor.Report {
	t.Helper()
	unit, err := os.ReadFile("../../../../packaging/systemd/sendense-agent.service")
	Must(t, err)
	settings := SandboxSetting.FindAllString(string(unit), -1)
	if len(settings) < 25 {
		t.Fatalf("only %q of the packaged unit", settings)
	}
	text, err := os.ReadFile(Program("sendense-agent"))
	Must(t, err)
	binary := filepath.Join(h.Dir, "sendense-agent")
	Must(t, os.WriteFile(binary, text, 0o755))
	args := append([]string{"--wait", "--pipe", "--quiet"}, more...)
	for _, s := range settings {
		if leaveOut == "" || !strings.Contains(s, leaveOut) {
			args = append(args, "-p", s)
		}
	}
	cmd := exec.CommandContext(t.Context(), "systemd-run", append(args, binary, "doctor", "--config", h.Config, "--output", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output() // it ends with 1 when anything is wrong; what is of interest is in the report
	var r doctor.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s %s", err, out, stderr.String())
	}
	return r
}
