package crashtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Several hubs live in one machine at the same time, each in a slot: a number that its units, ports and paths are made
// of. Two digits, so that the socket unit can append them to a port's first digits.
const (
	firstSlot    = 10
	lastSlot     = 59
	portsPerSlot = 12
)

// slots holds those that are free.
var slots = func() chan int {
	free := make(chan int, lastSlot-firstSlot+1)
	for s := firstSlot; s <= lastSlot; s++ {
		free <- s
	}
	return free
}()

// runDir is where a slot's configuration, socket and log lie.
func runDir(slot int) string { return fmt.Sprintf("/run/crashtest/%d", slot) }

func serviceOf(slot int) string { return fmt.Sprintf("crashtest@%d.service", slot) }
func socketOf(slot int) string  { return fmt.Sprintf("crashtest@%d.socket", slot) }

// callbackURL is where SBC calls. The socket is systemd's, as in production: a call waits while the daemon is down, and
// starts it.
func callbackURL(slot int) string { return fmt.Sprintf("http://127.0.0.1:180%d", slot) }

// installUnits makes the service and the socket of the daemon's callbacks, as templates.
func installUnits() error {
	service := `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=/run/crashtest/%i/sendense-agent --config /run/crashtest/%i/config.toml
EnvironmentFile=/run/crashtest/%i/environment
Environment="GORACE=halt_on_error=1 atexit_sleep_ms=10"
StandardError=append:/run/crashtest/%i/log
TimeoutStopSec=70
`
	socket := `[Unit]
StartLimitIntervalSec=0
[Socket]
ListenStream=127.0.0.1:180%i
FileDescriptorName=http
TriggerLimitIntervalSec=0
`
	const dir = "/run/systemd/system"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"crashtest@.service": service, "crashtest@.socket": socket} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := systemctl("daemon-reload")
	return err
}

func systemctl(args ...string) (string, error) {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// exporterUnits lists the units that carry the agent's prefix and belong to a VM, without their suffix.
func exporterUnits(vm string) ([]string, error) {
	out, err := systemctl("list-units", "--plain", "--no-legend", "--all",
		"sendense-nbd-backup-"+vm+"-*", "sendense-nbd-restore-"+vm+"-*")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		names = append(names, strings.Fields(line)[0])
	}
	return names, nil
}
