package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
)

// daemonUnit is the daemon's own unit.
const daemonUnit = "sendense-agent.service"

// leastSystemd is the oldest version that the agent is tested with.
const leastSystemd = 252

// serviceManager checks that systemd answers, and its version. The trial of each repository shows whether it may start units.
func (h *host) serviceManager(ctx context.Context) []Finding {
	about := one("bus", h.config.Agent.Bus)
	if h.busErr != nil {
		hint := "look at 'systemctl status dbus.socket dbus.service': exporters are started over the system bus"
		if h.config.Agent.Bus == config.BusUser {
			hint = "the user's service manager must run: loginctl enable-linger"
		}
		return about.error(h.busErr.Error(), hint)
	}
	version, err := h.bus.Version(ctx)
	if err != nil {
		return about.error("systemd does not answer: "+err.Error(), "look at 'systemctl status' and at the journal of dbus.service")
	}
	found := about.ok("systemd " + version + " answers")
	number, _, _ := strings.Cut(version, ".")
	number, _, _ = strings.Cut(number, " ")
	if n, err := strconv.Atoi(number); err == nil && n < leastSystemd {
		found = about.warn(fmt.Sprintf("systemd %s is older than %d, the oldest version that the agent is tested with", version, leastSystemd),
			"use Debian 12, Ubuntu 24.04 or newer")
	}
	found = with(found, "version", version)
	slice, err := h.bus.State(ctx, h.config.Agent.Slice)
	if err != nil {
		return append(found, about.error(err.Error(), "look at 'systemctl status "+h.config.Agent.Slice+"'")...)
	}
	return with(with(found, "slice", h.config.Agent.Slice), "slice_state", slice.Active)
}

// daemonState checks that the daemon runs and answers.
func (h *host) daemonState(ctx context.Context) []Finding {
	about := one("daemon", h.config.Agent.Socket)
	unit := h.unitState(ctx)
	switch {
	case h.daemonErr == nil && h.daemon.Version != h.options.Version:
		return with(about.warn(fmt.Sprintf("the daemon is version %s, this program is version %s", h.daemon.Version, h.options.Version),
			"systemctl restart sendense-agent: running backups continue"), "unit", unit)
	case h.daemonErr == nil:
		return with(with(about.ok(fmt.Sprintf("version %s answers, %s", h.daemon.Version, count(h.daemon.ActiveBackups, "active backup"))),
			"unit", unit), "version", h.daemon.Version)
	case errors.Is(h.daemonErr, fs.ErrPermission):
		return with(about.skip("this user may not use the socket", "run as root, or as a member of the group "+h.config.Agent.SocketGroup), "unit", unit)
	case strings.HasPrefix(unit, "active"):
		return with(about.error("the daemon runs but does not answer: "+h.daemonErr.Error(), "look at 'journalctl -u sendense-agent'"), "unit", unit)
	case strings.HasPrefix(unit, "failed"):
		return with(about.error("the daemon has failed", "look at 'journalctl -u sendense-agent', then 'systemctl restart sendense-agent'"), "unit", unit)
	}
	return with(about.warn("the daemon does not run: "+h.daemonErr.Error(), "systemctl start sendense-agent"), "unit", unit)
}

// unitState is the state of the daemon's unit, such as "active/running"; "" if it is not known.
func (h *host) unitState(ctx context.Context) string {
	if h.bus == nil {
		return ""
	}
	s, err := h.bus.State(ctx, daemonUnit)
	if err != nil {
		return ""
	}
	if s.Load != "loaded" {
		return s.Load
	}
	return s.Active + "/" + s.Sub
}
