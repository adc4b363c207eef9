package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/rpc"
)

// healthyHub is a hub of which the doctor has nothing to say.
func healthyHub(t *testing.T, extra ...string) *hub {
	t.Helper()
	h := newHub(t, extra...)
	must(t, os.Chmod(filepath.Join(h.dir, "state"), 0o700))
	return h
}

// doctor runs the doctor as root and reads its report; the exit code must be that of what it found.
func (h *hub) doctor(args ...string) doctor.Report {
	h.Helper()
	return h.doctorAs(nil, program("sendense-agent"), args...)
}

func (h *hub) doctorAs(user *syscall.Credential, path string, args ...string) doctor.Report {
	h.Helper()
	p := startAs(h.T, user, path, append([]string{"doctor", "--config", h.config, "--output", "json"}, args...)...)
	code, exited := p.exited(2 * patient)
	if !exited {
		h.Fatalf("the doctor does not end: %s", p.stderr())
	}
	var r doctor.Report
	if err := json.Unmarshal([]byte(p.stdout()), &r); err != nil {
		h.Fatalf("%v: %s %s", err, p.stdout(), p.stderr())
	}
	if want := map[bool]int{true: 1, false: 0}[r.Errors > 0]; code != want || (code != 0) != strings.Contains(p.stderr(), "named above") {
		h.Errorf("exit code %d with %d errors: %s", code, r.Errors, p.stderr())
	}
	for _, f := range r.Findings {
		if f.Message == "" || f.Hint == "" && (f.Status == doctor.Error || f.Status == doctor.Warning) {
			h.Errorf("without words: %+v", f)
		}
	}
	h.nothingLeft()
	return r
}

// nothingLeft looks that the doctor has left no unit, no directory and no file.
func (h *hub) nothingLeft() {
	h.Helper()
	out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-doctor-*").CombinedOutput()
	if err == nil && len(out) > 0 { // without a bus there is nobody to ask
		h.Errorf("units are left: %s", out)
	}
	for _, pattern := range []string{filepath.Join(h.dir, "repository", ".*"), filepath.Join(os.TempDir(), "sendense-doctor-*")} {
		left, err := filepath.Glob(pattern)
		must(h.T, err)
		if len(left) > 0 {
			h.Errorf("left: %q", left)
		}
	}
}

// troubles are the findings that are errors or warnings, one line each.
func troubles(r doctor.Report) []string {
	var list []string
	for _, f := range r.Findings {
		if f.Status == doctor.Error || f.Status == doctor.Warning {
			list = append(list, fmt.Sprintf("%s %s %s: %s (%s) %v", f.Status, f.Check, f.Object, f.Message, f.Hint, f.Facts))
		}
	}
	return list
}

// finds wants a finding of a check about an object, with that status, whose message, hint and facts hold all the words.
func (h *hub) finds(r doctor.Report, status doctor.Status, check, object string, words ...string) {
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

// TestDoctor: nothing to say of a healthy hub, idle or in the midst of a copy, whether the daemon runs or not.
func TestDoctor(t *testing.T) {
	h := healthyHub(t)
	sources := h.addVM("pgtest1", diskSize, diskSize)
	healthy := func(when string) doctor.Report {
		t.Helper()
		r := h.doctor()
		if list := troubles(r); len(list) > 0 || r.Status != doctor.OK {
			t.Errorf("%s: %s %s", when, r.Status, strings.Join(list, "\n"))
		}
		checks := map[string]bool{}
		for _, f := range r.Findings {
			checks[f.Check] = true
		}
		for _, name := range []string{
			"config", "exporter-user", "qemu-img", "qemu-nbd", "features", "bus", "daemon", "state-directory", "apart",
			"database", "ports", "listeners", "dates", "prune", "sna", "write-zeroes", "repository", "space", "io", "catalog", "data-path",
		} {
			if !checks[name] {
				t.Errorf("%s: nothing of %s in %q", when, name, slices.Sorted(maps.Keys(checks)))
			}
		}
		return r
	}
	idle := healthy("idle")
	h.finds(idle, doctor.OK, "data-path", "main", "refuse WRITE_ZEROES")
	h.finds(idle, doctor.OK, "database", filepath.Join(h.dir, "state", "agent.db"), "in use by the daemon", "sendense-agent (pid")
	id := h.held("pgtest1", "copy/1")
	r := healthy("in mid copy")
	h.finds(r, doctor.OK, "ports", "10100-10200", "99 free, 2 serving")
	h.finds(r, doctor.OK, "daemon", rpc.DefaultSocket, "1 active backup")
	h.release("copy/1")
	h.completes(id, sources)

	id = h.held("pgtest1", "copy/1") // exporters outlive the daemon, and are no strangers then
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the daemon exited with %d", code)
	}
	r = h.doctor()
	h.finds(r, doctor.Warning, "daemon", rpc.DefaultSocket, "does not run", "systemctl start")
	h.finds(r, doctor.OK, "ports", "10100-10200", "99 free, 2 serving")
	h.finds(r, doctor.OK, "database", filepath.Join(h.dir, "state", "agent.db"), "sound")
	if r.Errors != 0 {
		t.Errorf("with the daemon down: %q", troubles(r))
	}
	if p := start(t, program("sendense-agent"), "doctor", "--config", h.config, "--strict"); p.end(syscall.SIGCONT) != 1 {
		t.Errorf("a warning is none with --strict: %s", p.stdout())
	} else if !strings.Contains(p.stdout(), "warning daemon "+rpc.DefaultSocket) || !strings.Contains(p.stdout(), "    → ") || strings.Contains(p.stdout(), "\x1b") {
		t.Errorf("for people: %s", p.stdout())
	}
	h.boot()
	h.release("copy/1")
	h.completes(id, sources)
}
