package hubtest

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
	SNAURL   = "http://127.0.0.1:9081"
	Patience = 5 * time.Minute // bounds every wait, for a machine that is very busy: what takes longer hangs
)

// A Hub is a machine with the daemon and an SNA on it, as processes, used from outside.
type Hub struct {
	*testing.T
	Dir, Config string
	Daemon      *Process
	SNA         *Process
	Ended       bool
}

// New starts the SNA and the daemon. extra is appended to the configuration.
func New(t *testing.T, extra ...string) *Hub {
	t.Helper()
	h := &Hub{T: t, Dir: systemdtest.DiskDir(t)}
	for _, dir := range []string{"state", "repository"} {
		Must(t, os.Mkdir(filepath.Join(h.Dir, dir), 0o755))
	}
	Must(t, os.MkdirAll(filepath.Dir(rpc.DefaultSocket), 0o755))
	h.Config = filepath.Join(h.Dir, "config.toml")
	Must(t, os.WriteFile(h.Config, fmt.Appendf(nil, `default_repository = "main"
[agent]
state_directory = "%[1]s/state"
[http]
enabled = true
[[repository]]
id = "main"
path = "%[1]s/repository"
%[2]s
`, h.Dir, strings.Join(extra, "\n")), 0o644))
	h.SNA = Start(t, Program("snasim"), "--old-contract", "--callback", "http://127.0.0.1:8082", "--dir", h.Dir)
	h.Eventually("the SNA listens", func() bool { return h.Get("state", nil, new(snatest.State)) == nil })
	h.Boot()
	return h
}

// Boot starts the daemon and returns when it answers.
func (h *Hub) Boot() {
	h.Helper()
	h.Daemon = Start(h.T, Program("sendense-agent"), "--config", h.Config)
	h.Cleanup(h.End) // before the cleanup that kills this daemon; only the first of them does anything
	h.Eventually("the daemon answers", func() bool {
		if code, exited := h.Daemon.Exited(0); exited {
			h.Fatalf("the daemon exited with code %d: %s", code, h.Daemon.Stderr())
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

// End cancels what still runs and looks that no unit is left, that the daemon stops in order, and that its database is sound.
func (h *Hub) End() {
	if h.Ended {
		return
	}
	h.Ended = true
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
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
	h.Eventually("no unit is left", func() bool { return len(Exporters(h.T)) == 0 })
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		h.Errorf("the daemon exited with code %d", code)
	}
	if log := h.Daemon.Stderr(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") || h.Failed() {
		h.Logf("the daemon's log:\n%s", log)
		if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
			h.Error("the daemon raced or panicked")
		}
	}
	if log := h.Daemon.Stderr(); strings.Contains(log, "rpc.discover does not list this reason") {
		h.Errorf("a method failed for a reason that rpc/server/failures.go does not list for it:\n%s", log)
	}
	h.SNA.End(syscall.SIGTERM)
	s, err := store.Open(filepath.Join(h.Dir, "state", "agent.db"), store.Options{MustExist: true})
	Must(h.T, err)
	if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
		h.Error(err)
	}
}

// Exporters lists the services that are serving a disk.
func Exporters(t *testing.T) []string {
	out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-nbd-*.service").Output()
	Must(t, err)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

func (h *Hub) Eventually(what string, done func() bool) {
	h.Helper()
	for began := time.Now(); !done(); systemdtest.Pause(began) {
		if time.Since(began) > Patience {
			h.Fatalf("%s: not within %s; the daemon's log:\n%s", what, Patience, h.Daemon.Stderr())
		}
	}
}

// Dial connects to the daemon until the test ends.
func (h *Hub) Dial() *rpc.Client {
	h.Helper()
	c, err := rpc.Dial(h.Context(), rpc.DefaultSocket)
	Must(h.T, err)
	h.Cleanup(func() { c.Close() })
	return c
}

// AddVM registers a VM with a disk of each size on the SNA and the daemon, and returns the paths of the disks.
func (h *Hub) AddVM(name string, sizes ...int64) []string {
	h.Helper()
	vm := rpc.VM{VMName: name, InventoryPath: "/DC1/vm/" + name}
	simulated := snatest.VM{Name: name, Path: vm.InventoryPath}
	var sources []string
	for i, size := range sizes {
		source := filepath.Join(h.Dir, fmt.Sprintf("%s-%d.raw", name, i))
		data := make([]byte, size)
		_, _ = rand.Read(data[:size/2])
		Must(h.T, os.WriteFile(source, data, 0o600))
		sources = append(sources, source)
		vm.Disks = append(vm.Disks, rpc.Disk{DiskID: i, UnitNumber: i, CapacityBytes: size})
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: source})
	}
	h.Control("vm", nil, simulated)
	_, err := h.Dial().PutVM(h.Context(), vm)
	Must(h.T, err)
	return sources
}

// Held starts a full backup and returns its id when its copy stands still at the point.
func (h *Hub) Held(vm, point string) string {
	h.Helper()
	h.Hold(point)
	b, err := h.Dial().StartBackup(h.Context(), rpc.StartRequest{VMName: vm, BackupType: rpc.Full})
	Must(h.T, err)
	Must(h.T, h.Get("wait", url.Values{"job": {b.BackupID}, "for": {point}}, new(snatest.RunState)))
	return b.BackupID
}

func (h *Hub) Hold(point string) { h.Helper(); h.Control("hold", url.Values{"point": {point}}, nil) }

func (h *Hub) Release(point string) {
	h.Helper()
	h.Control("release", url.Values{"point": {point}}, nil)
}

// Control has the simulator do something.
func (h *Hub) Control(what string, query url.Values, body any) {
	h.Helper()
	text, err := json.Marshal(body)
	Must(h.T, err)
	resp, err := http.Post(SNAURL+"/sim/v1/"+what+"?"+query.Encode(), "application/json", bytes.NewReader(text))
	Must(h.T, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		h.Fatalf("simulator: %s: %s %s", what, resp.Status, said)
	}
}

func (h *Hub) Get(what string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(h.Context(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, SNAURL+"/sim/v1/"+what+"?"+query.Encode(), nil)
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

// Completes waits for the end of a backup, and fails the test unless its images are what the sources are and the SNA was
// asked once.
func (h *Hub) Completes(id string, sources []string) {
	h.Helper()
	var b rpc.Backup
	h.Eventually(id+" ends", func() (ended bool) {
		var err error
		b, err = h.Dial().GetBackup(h.Context(), id)
		Must(h.T, err)
		return b.State.Ended()
	})
	if b.State != rpc.Completed {
		h.Fatalf("backup %s is %s: %+v; the daemon's log:\n%s", id, b.State, b.Failure, h.Daemon.Stderr())
	}
	for i, d := range b.Disks {
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", sources[i], d.QCOW2Path).CombinedOutput(); err != nil {
			h.Errorf("disk %d: %s", i, out)
		}
	}
	var state snatest.State
	Must(h.T, h.Get("state", nil, &state))
	if n := state.PostsPerJob[id]; n != 1 {
		h.Errorf("the SNA was asked %d times to start %s", n, id)
	}
}

// CTL runs the CLI and returns its exit code and what it wrote.
func (h *Hub) CTL(args ...string) (code int, stdout, stderr string) {
	h.Helper()
	p := Start(h.T, Program("sendensectl"), args...)
	code, exited := p.Exited(Patience)
	if !exited {
		h.Fatalf("sendensectl %s: still runs after %s: %s", strings.Join(args, " "), Patience, p.Stderr())
	}
	return code, p.Stdout(), p.Stderr()
}

func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const DiskSize = 8 << 20
