package reboottest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

const (
	snaURL    = "http://127.0.0.1:9081"
	diskBytes = 8 << 20
)

// A host is a machine with the daemon and a simulated SNA on it, as services.
type host struct {
	ctx   context.Context
	dir   string // outlives the machine
	agent *rpc.Client
}

// start starts both services on what lies in the directory.
func start(ctx context.Context, dir string) (*host, error) {
	h := &host{ctx: ctx, dir: dir}
	for _, name := range []string{"state", "repository"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(dir, "config.toml")
	err := os.WriteFile(config, fmt.Appendf(nil, `default_repository = "main"
[agent]
state_directory = "%[1]s/state"
[http]
enabled = true
[[repository]]
id = "main"
path = "%[1]s/repository"
`, dir), 0o644)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.MkdirAll(filepath.Dir(rpc.DefaultSocket), 0o755),
		service("snasim", "exec", program("snasim"), "--old-contract", "--callback", "http://127.0.0.1:8082", "--dir", dir),
		service("sendense-agent", "notify", program("sendense-agent"), "--config", config),
	)
	if err != nil {
		return nil, err
	}
	if h.agent, err = rpc.Dial(ctx, rpc.DefaultSocket); err != nil {
		return nil, err
	}
	return h, h.simulatorAnswers()
}

func service(unit, kind string, command ...string) error {
	args := append([]string{"--quiet", "--unit=" + unit, "--property=Type=" + kind}, command...)
	out, err := exec.Command("systemd-run", args...).CombinedOutput()
	if err != nil {
		journal, _ := exec.Command("journalctl", "--no-pager", "--unit="+unit).CombinedOutput()
		return fmt.Errorf("starting %s: %w: %s\n%s", unit, err, out, journal)
	}
	return nil
}

func (h *host) simulatorAnswers() error {
	for {
		err := h.control(http.MethodGet, "state", nil, nil)
		if err == nil || h.ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (h *host) source(vm string) string { return filepath.Join(h.dir, vm+".raw") }

// addVM tells the SNA and the daemon of a VM with one disk, and makes the disk if there is none.
func (h *host) addVM(name string) error {
	source := h.source(name)
	if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
		data := make([]byte, diskBytes)
		_, _ = rand.Read(data[:diskBytes/2])
		if err := os.WriteFile(source, data, 0o600); err != nil {
			return err
		}
	}
	path := "/DC1/vm/" + name
	err := h.control(http.MethodPost, "vm", nil, snatest.VM{
		Name: name, Path: path, Disks: []snatest.Disk{{Key: 2000, Source: source}},
	})
	if err != nil {
		return err
	}
	_, err = h.agent.PutVM(h.ctx, rpc.VM{VMName: name, InventoryPath: path, Disks: []rpc.Disk{{CapacityBytes: diskBytes}}})
	return err
}
