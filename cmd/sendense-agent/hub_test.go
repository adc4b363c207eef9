package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

const (
	snaURL  = "http://127.0.0.1:9081"
	patient = time.Minute // bounds every wait: what takes longer hangs
)

// A hub is a machine with the daemon and an SNA on it, as processes, used from outside.
type hub struct {
	*testing.T
	dir, config string
	daemon      *process
	sna         *process
	ended       bool
}

// newHub starts the SNA and the daemon. extra is appended to the configuration.
func newHub(t *testing.T, extra ...string) *hub {
	t.Helper()
	h := &hub{T: t, dir: systemdtest.DiskDir(t)}
	for _, dir := range []string{"state", "repository"} {
		must(t, os.Mkdir(filepath.Join(h.dir, dir), 0o755))
	}
	must(t, os.MkdirAll(filepath.Dir(rpc.DefaultSocket), 0o755))
	h.config = filepath.Join(h.dir, "config.toml")
	must(t, os.WriteFile(h.config, fmt.Appendf(nil, `default_repository = "main"
[agent]
state_directory = "%[1]s/state"
[http]
enabled = true
[[repository]]
id = "main"
path = "%[1]s/repository"
%[2]s
`, h.dir, strings.Join(extra, "\n")), 0o644))
	h.sna = start(t, program("snasim"), "--old-contract", "--callback", "http://127.0.0.1:8082", "--dir", h.dir)
	h.eventually("the SNA listens", func() bool { return h.get("state", nil, new(snatest.State)) == nil })
	h.boot()
	return h
}

// boot starts the daemon and returns when it answers.
func (h *hub) boot() {
	h.Helper()
	h.daemon = start(h.T, program("sendense-agent"), "--config", h.config)
	h.Cleanup(h.end) // before the cleanup that kills this daemon; only the first of them does anything
	h.eventually("the daemon answers", func() bool {
		if code, exited := h.daemon.exited(0); exited {
			h.Fatalf("the daemon exited with code %d: %s", code, h.daemon.stderr())
		}
		c, err := rpc.Dial(h.Context(), rpc.DefaultSocket)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Status(h.Context())
		return err == nil
	})
}

// end cancels what still runs and looks that no unit is left, that the daemon stops in order, and that its database is sound.
func (h *hub) end() {
	if h.ended {
		return
	}
	h.ended = true
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if c, err := rpc.Dial(ctx, rpc.DefaultSocket); err == nil {
		defer c.Close()
		list, err := c.ListBackups(ctx, rpc.BackupQuery{})
		if err != nil {
			h.Error(err)
		}
		for _, b := range list.Backups {
			if !b.State.Ended() {
				_, _ = c.CancelBackup(ctx, b.BackupID) // it may end by itself meanwhile
			}
		}
	}
	h.eventually("no unit is left", func() bool { return len(exporters(h.T)) == 0 })
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		h.Errorf("the daemon exited with code %d", code)
	}
	if log := h.daemon.stderr(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") || h.Failed() {
		h.Logf("the daemon's log:\n%s", log)
		if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
			h.Error("the daemon raced or panicked")
		}
	}
	h.sna.end(syscall.SIGTERM)
	s, err := store.Open(filepath.Join(h.dir, "state", "agent.db"), store.Options{MustExist: true})
	must(h.T, err)
	if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
		h.Error(err)
	}
}

// exporters lists the services that are serving a disk.
func exporters(t *testing.T) []string {
	out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-nbd-*.service").Output()
	must(t, err)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

func (h *hub) eventually(what string, done func() bool) {
	h.Helper()
	for deadline := time.Now().Add(patient); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("%s: not within %s; the daemon's log:\n%s", what, patient, h.daemon.stderr())
		}
	}
}

// dial connects to the daemon until the test ends.
func (h *hub) dial() *rpc.Client {
	h.Helper()
	c, err := rpc.Dial(h.Context(), rpc.DefaultSocket)
	must(h.T, err)
	h.Cleanup(func() { c.Close() })
	return c
}

// addVM registers a VM with a disk of each size on the SNA and the daemon, and returns the paths of the disks.
func (h *hub) addVM(name string, sizes ...int64) []string {
	h.Helper()
	vm := rpc.VM{VMName: name, InventoryPath: "/DC1/vm/" + name}
	simulated := snatest.VM{Name: name, Path: vm.InventoryPath}
	var sources []string
	for i, size := range sizes {
		source := filepath.Join(h.dir, fmt.Sprintf("%s-%d.raw", name, i))
		data := make([]byte, size)
		_, _ = rand.Read(data[:size/2])
		must(h.T, os.WriteFile(source, data, 0o600))
		sources = append(sources, source)
		vm.Disks = append(vm.Disks, rpc.Disk{DiskID: i, UnitNumber: i, CapacityBytes: size})
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: source})
	}
	h.control("vm", nil, simulated)
	_, err := h.dial().PutVM(h.Context(), vm)
	must(h.T, err)
	return sources
}

// held starts a full backup and returns its id when its copy stands still at the point.
func (h *hub) held(vm, point string) string {
	h.Helper()
	h.hold(point)
	b, err := h.dial().StartBackup(h.Context(), rpc.StartRequest{VMName: vm, BackupType: rpc.Full})
	must(h.T, err)
	must(h.T, h.get("wait", url.Values{"job": {b.BackupID}, "for": {point}}, new(snatest.RunState)))
	return b.BackupID
}

func (h *hub) hold(point string) { h.Helper(); h.control("hold", url.Values{"point": {point}}, nil) }

func (h *hub) release(point string) {
	h.Helper()
	h.control("release", url.Values{"point": {point}}, nil)
}

// control has the simulator do something.
func (h *hub) control(what string, query url.Values, body any) {
	h.Helper()
	text, err := json.Marshal(body)
	must(h.T, err)
	resp, err := http.Post(snaURL+"/sim/v1/"+what+"?"+query.Encode(), "application/json", bytes.NewReader(text))
	must(h.T, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		h.Fatalf("simulator: %s: %s %s", what, resp.Status, said)
	}
}

func (h *hub) get(what string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(h.Context(), patient)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, snaURL+"/sim/v1/"+what+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("simulator: %s: %s %s", what, resp.Status, said)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// completes waits for the end of a backup, and fails the test unless its images are what the sources are and the SNA was
// asked once.
func (h *hub) completes(id string, sources []string) {
	h.Helper()
	var b rpc.Backup
	h.eventually(id+" ends", func() (ended bool) {
		var err error
		b, err = h.dial().GetBackup(h.Context(), id)
		must(h.T, err)
		return b.State.Ended()
	})
	if b.State != rpc.Completed {
		h.Fatalf("backup %s is %s: %+v; the daemon's log:\n%s", id, b.State, b.Failure, h.daemon.stderr())
	}
	for i, d := range b.Disks {
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", sources[i], d.QCOW2Path).CombinedOutput(); err != nil {
			h.Errorf("disk %d: %s", i, out)
		}
	}
	var state snatest.State
	must(h.T, h.get("state", nil, &state))
	if n := state.PostsPerJob[id]; n != 1 {
		h.Errorf("the SNA was asked %d times to start %s", n, id)
	}
}

// ctl runs the CLI and returns its exit code and what it wrote.
func (h *hub) ctl(args ...string) (code int, stdout, stderr string) {
	h.Helper()
	p := start(h.T, program("sendensectl"), args...)
	code, exited := p.exited(patient)
	if !exited {
		h.Fatalf("sendensectl %s: still runs after %s: %s", strings.Join(args, " "), patient, p.stderr())
	}
	return code, p.stdout(), p.stderr()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
