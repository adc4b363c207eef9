package diagnosis_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestDoctor: nothing to say of a healthy hub, idle or in the midst of a copy, whether the daemon runs or not.
func TestDoctor(t *testing.T) {
	h := hubtest.HealthyHub(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	healthy := func(when string) doctor.Report {
		t.Helper()
		r := h.Doctor()
		if list := hubtest.Troubles(r); len(list) > 0 || r.Status != doctor.OK {
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
	h.Finds(idle, doctor.OK, "data-path", "main", "refuse WRITE_ZEROES")
	h.Finds(idle, doctor.OK, "database", filepath.Join(h.Dir, "state", "agent.db"), "in use by the daemon", "sendense-agent (pid")
	id := h.Held("pgtest1", "copy/1")
	r := healthy("in mid copy")
	h.Finds(r, doctor.OK, "ports", "10100-10200", "99 free, 2 serving")
	h.Finds(r, doctor.OK, "daemon", rpc.DefaultSocket, "1 active backup")
	h.Release("copy/1")
	h.Completes(id, sources)

	id = h.Held("pgtest1", "copy/1") // exporters outlive the daemon, and are no strangers then
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		t.Errorf("the daemon exited with %d", code)
	}
	r = h.Doctor()
	h.Finds(r, doctor.Warning, "daemon", rpc.DefaultSocket, "does not run", "systemctl start")
	h.Finds(r, doctor.OK, "ports", "10100-10200", "99 free, 2 serving")
	h.Finds(r, doctor.OK, "database", filepath.Join(h.Dir, "state", "agent.db"), "sound")
	if r.Errors != 0 {
		t.Errorf("with the daemon down: %q", hubtest.Troubles(r))
	}
	if p := hubtest.Start(t, hubtest.Program("sendense-agent"), "doctor", "--config", h.Config, "--strict"); p.End(syscall.SIGCONT) != 1 {
		t.Errorf("a warning is none with --strict: %s", p.Stdout())
	} else if !strings.Contains(p.Stdout(), "warning daemon "+rpc.DefaultSocket) || !strings.Contains(p.Stdout(), "    → ") || strings.Contains(p.Stdout(), "\x1b") {
		t.Errorf("for people: %s", p.Stdout())
	}
	h.Boot()
	h.Release("copy/1")
	h.Completes(id, sources)
}
