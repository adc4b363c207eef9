// Package hub is the agent under measurement: the daemon and a simulated SNA as processes, as they are on an appliance, with what
// they cost. It compares nothing.
package hub

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
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/rpc"
)

const (
	snaURL     = "http://127.0.0.1:9081"
	metricsURL = "http://127.0.0.1:9185/metrics"
)

// A Hub is the daemon and an SNA, as processes, as they are on an appliance.
type Hub struct {
	Dir      string // holds repository, state and the disks of the VMs
	daemon   *exec.Cmd
	sna      *exec.Cmd
	Client   *rpc.Client
	programs string
	vms      map[string]snatest.VM // at the SNA
}

// New starts the SNA and the daemon. An existing database in dir stays.
func New(ctx context.Context, programs, dir string) (*Hub, error) {
	h := &Hub{Dir: dir, programs: programs, vms: map[string]snatest.VM{}}
	for _, sub := range []string{"state", "repository", EncryptedRepository, "credentials"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(rpc.DefaultSocket), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "credentials", "bench"), []byte(rand.Text()+rand.Text()), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(h.config(), fmt.Appendf(nil, configuration, dir), 0o644); err != nil {
		return nil, err
	}
	h.sna = exec.Command(filepath.Join(programs, "snasim"), "--old-contract", "--in-place", "--callback", "http://127.0.0.1:8082", "--dir", dir)
	if err := h.start(h.sna, "sna.log"); err != nil {
		return nil, err
	}
	err := host.Eventually(ctx, "the SNA listens", func() bool { return h.Control("state", nil, nil) == nil })
	if err == nil {
		err = h.Boot(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close(ctx))
	}
	return h, nil
}

// configuration of the daemon. A cancelled start frees its VM and its ports at once, so that each round begins in the same state; there
// are enough ports for the largest start twice.
const configuration = `default_repository = "main"
[agent]
state_directory = "%[1]s/state"
[nbd]
last_port = 10355
[sna]
cooldown = "0s"
[deadlines]
last_question = "100ms"
[limits]
max_backups = 0
[http]
enabled = true
[space]
reserve = "0B"
floor = "0B"
[[repository]]
id = "main"
path = "%[1]s/repository"
[[repository]]
id = "` + EncryptedRepository + `"
path = "%[1]s/` + EncryptedRepository + `"
encryption_key = "bench"
`

// EncryptedRepository is the id of the repository whose images are encrypted.
const EncryptedRepository = "encrypted"

func (h *Hub) config() string { return filepath.Join(h.Dir, "config.toml") }

// start starts a process with its output in a file of the hub.
func (h *Hub) start(cmd *exec.Cmd, name string) error {
	f, err := os.OpenFile(filepath.Join(h.Dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	return cmd.Start()
}

// Boot starts the daemon and connects to it once it answers.
func (h *Hub) Boot(ctx context.Context) error {
	h.daemon = exec.Command(filepath.Join(h.programs, "sendense-agent"), "--config", h.config())
	h.daemon.Env = append(os.Environ(), "CREDENTIALS_DIRECTORY="+filepath.Join(h.Dir, "credentials"))
	if err := h.start(h.daemon, "daemon.log"); err != nil {
		return err
	}
	for deadline := time.Now().Add(host.Patience); ; time.Sleep(time.Millisecond) {
		c, err := rpc.Dial(ctx, rpc.DefaultSocket)
		if err == nil {
			if _, err = c.ListVMs(ctx, rpc.VMQuery{Limit: 1}); err == nil {
				h.Client = c
				return nil
			}
			_ = c.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the daemon does not answer: %w; see %s", err, h.Dir)
		}
	}
}

// Halt stops the daemon. The exports continue.
func (h *Hub) Halt() error {
	if h.Client != nil {
		_ = h.Client.Close()
		h.Client = nil
	}
	return end(&h.daemon)
}

func end(cmd **exec.Cmd) error {
	c := *cmd
	if c == nil {
		return nil
	}
	*cmd = nil
	return errors.Join(c.Process.Signal(syscall.SIGTERM), c.Wait())
}

// Close cancels running backups and stops daemon and SNA.
func (h *Hub) Close(ctx context.Context) error {
	var errs []error
	if h.Client != nil {
		page, err := h.Client.ListBackups(ctx, rpc.BackupQuery{State: rpc.Running, Limit: 1000})
		errs = append(errs, err)
		for _, b := range page.Backups {
			errs = append(errs, h.Cancel(ctx, b.BackupID))
		}
	}
	errs = append(errs, h.Halt())
	_ = end(&h.sna) // the signal ends it
	return errors.Join(errs...)
}

// Cancel ends a backup and waits until nothing is left of it.
func (h *Hub) Cancel(ctx context.Context, id string) error {
	if _, err := h.Client.CancelBackup(ctx, id); err != nil {
		return err
	}
	_, err := h.Ended(ctx, id)
	return err
}

// Ended waits for the end of a backup.
func (h *Hub) Ended(ctx context.Context, id string) (b rpc.Backup, err error) {
	waiting := host.Eventually(ctx, id+" ends", func() bool {
		b, err = h.Client.GetBackup(ctx, id)
		return err != nil || b.State.Ended()
	})
	return b, errors.Join(err, waiting)
}

// Control sends a command to the simulated SNA; a nil body only asks for its state.
func (h *Hub) Control(what string, query url.Values, body any) error {
	address := snaURL + "/sim/v1/" + what + "?" + query.Encode()
	var resp *http.Response
	var err error
	if body == nil {
		resp, err = http.Get(address)
	} else {
		var text []byte
		if text, err = json.Marshal(body); err != nil {
			return err
		}
		resp, err = http.Post(address, "application/json", bytes.NewReader(text))
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("simulator: %s: %s %s", what, resp.Status, said)
	}
	return nil
}

// Hold stops every client before its login: the exports are up, and nobody is connected.
func (h *Hub) Hold() error { return h.Control("hold", url.Values{"point": {"login"}}, struct{}{}) }

// Release lets the copies continue.
func (h *Hub) Release() error {
	return h.Control("release", url.Values{"point": {"login"}}, struct{}{})
}
