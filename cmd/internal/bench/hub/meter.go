package hub

import (
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
)

// CPU is CPU time, by process.
type CPU struct{ Systemd, Children, Bus, Daemon time.Duration }

// Meter reads the CPU times of the processes since their start.
func (h *Hub) Meter() (b CPU, err error) {
	pid, err := host.PIDOf("dbus-daemon")
	if err != nil {
		return b, err
	}
	if b.Bus, err = host.Busy(pid); err != nil {
		return b, err
	}
	if b.Systemd, err = host.Busy(1); err != nil {
		return b, err
	}
	if _, b.Children, err = host.CPUOf(1); err != nil {
		return b, err
	}
	own, tools, err := host.CPUOf(h.daemon.Process.Pid)
	b.Daemon = own + tools
	return b, err
}
