package main

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

	"github.com/sendense/backup-agent/rpc"
)

const (
	snaURL     = "http://127.0.0.1:9081"
	metricsURL = "http://127.0.0.1:9185/metrics"
	patience   = 2 * time.Minute // bounds every wait: what takes longer hangs
)

// A hub is the daemon and an SNA, as processes, as they are on an appliance.
type hub struct {
	dir    string // holds repository, state and the disks of the VMs
	daemon *exec.Cmd
	sna    *exec.Cmd
	client *rpc.Client
	set    settings
}

// newHub starts the SNA and the daemon. What is on record already in dir stays.
func newHub(ctx context.Context, s settings, dir string) (*hub, error) {
	h := &hub{dir: dir, set: s}
	for _, sub := range []string{"state", "repository", encryptedRepository, "credentials"} {
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
	h.sna = exec.Command(filepath.Join(s.programs, "snasim"), "--old-contract", "--in-place", "--callback", "http://127.0.0.1:8082", "--dir", dir)
	if err := h.log(h.sna, "sna.log"); err != nil {
		return nil, err
	}
	err := eventually(ctx, "the SNA listens", func() bool { return h.control("state", nil, nil) == nil })
	if err == nil {
		err = h.boot(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, h.close(ctx))
	}
	return h, nil
}

// configuration of the daemon. A cancelled start leaves its VM and its ports free at once, so that the next round finds the
// world as the last one did; the ports are many enough for the largest start twice.
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
id = "` + encryptedRepository + `"
path = "%[1]s/` + encryptedRepository + `"
encryption_key = "bench"
`

const encryptedRepository = "encrypted"

func (h *hub) config() string { return filepath.Join(h.dir, "config.toml") }

// log starts a process whose output goes to a file of the hub's.
func (h *hub) log(cmd *exec.Cmd, name string) error {
	f, err := os.OpenFile(filepath.Join(h.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	return cmd.Start()
}

// boot starts the daemon and connects to it once it answers.
func (h *hub) boot(ctx context.Context) error {
	h.daemon = exec.Command(filepath.Join(h.set.programs, "sendense-agent"), "--config", h.config())
	h.daemon.Env = append(os.Environ(), "CREDENTIALS_DIRECTORY="+filepath.Join(h.dir, "credentials"))
	if err := h.log(h.daemon, "daemon.log"); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := rpc.Dial(ctx, rpc.DefaultSocket)
		if err == nil {
			if _, err = c.ListVMs(ctx, rpc.VMQuery{Limit: 1}); err == nil {
				h.client = c
				return nil
			}
			_ = c.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the daemon does not answer: %w; see %s", err, h.dir)
		}
	}
}

// halt stops the daemon and leaves the exports to themselves.
func (h *hub) halt() error {
	if h.client != nil {
		_ = h.client.Close()
		h.client = nil
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

// close cancels what runs and stops both.
func (h *hub) close(ctx context.Context) error {
	var errs []error
	if h.client != nil {
		page, err := h.client.ListBackups(ctx, rpc.BackupQuery{State: rpc.Running, Limit: 1000})
		errs = append(errs, err)
		for _, b := range page.Backups {
			errs = append(errs, h.cancel(ctx, b.BackupID))
		}
	}
	errs = append(errs, h.halt())
	_ = end(&h.sna) // it dies of the signal
	return errors.Join(errs...)
}

// cancel ends a backup and waits until nothing is left of it.
func (h *hub) cancel(ctx context.Context, id string) error {
	if _, err := h.client.CancelBackup(ctx, id); err != nil {
		return err
	}
	_, err := h.ended(ctx, id)
	return err
}

// ended waits for the end of a backup.
func (h *hub) ended(ctx context.Context, id string) (b rpc.Backup, err error) {
	waiting := eventually(ctx, id+" ends", func() bool {
		b, err = h.client.GetBackup(ctx, id)
		return err != nil || b.State.Ended()
	})
	return b, errors.Join(err, waiting)
}

func eventually(ctx context.Context, what string, done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, patience)
		}
	}
	return nil
}

// control has the simulated SNA do something; a nil body only asks for its state.
func (h *hub) control(what string, query url.Values, body any) error {
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

// hold has every copy stand still before it logs in: its exports are up, and nobody is connected.
func (h *hub) hold() error { return h.control("hold", url.Values{"point": {"login"}}, struct{}{}) }

func (h *hub) release() error {
	return h.control("release", url.Values{"point": {"login"}}, struct{}{})
}
