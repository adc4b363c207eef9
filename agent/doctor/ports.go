package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// exportUnits begins the names of the exporters' units.
const exportUnits = "sendense-nbd-"

// maxNamed limits how many findings of one kind are listed.
const maxNamed = 10

func (h *host) portRange() nbd.PortRange {
	return nbd.PortRange{First: h.config.NBD.FirstPort, Last: h.config.NBD.LastPort}
}

// ports finds who listens on the ports of the exports. It binds none, because a backup may need it at that moment.
func (h *host) ports(ctx context.Context) []Finding {
	about := one("ports", h.portRange().String())
	busy, err := listening(h.portRange())
	if err != nil {
		return about.skip(err.Error(), "run as root")
	}
	ours, known := h.exportPorts(ctx) // after listening, so that an export that has just started is known
	var foreign []uint16
	served := 0
	for _, port := range busy {
		if ours[port] {
			served++
		} else if still, err := sockets.Listening(port); err != nil || still {
			foreign = append(foreign, port)
		}
	}
	found := foreignPorts(foreign, known)
	if len(foreign) == 0 {
		found = about.ok(fmt.Sprintf("%s, %d free, %d serving an export", count(h.portRange().Len(), "port"), h.portRange().Len()-len(busy), served))
	}
	return append(found, ephemeral(h.portRange())...)
}

func listening(r nbd.PortRange) ([]uint16, error) {
	var busy []uint16
	for port := int(r.First); port <= int(r.Last); port++ {
		listens, err := sockets.Listening(uint16(port))
		if err != nil {
			return nil, err
		}
		if listens {
			busy = append(busy, uint16(port))
		}
	}
	return busy, nil
}

// exportPorts returns the ports of our exports, from systemd and the daemon; known says whether one of them answered.
func (h *host) exportPorts(ctx context.Context) (ours map[uint16]bool, known bool) {
	ours = map[uint16]bool{}
	list, err := h.exports(ctx)
	known = err == nil
	for _, port := range list {
		ours[port] = true
	}
	if h.bus == nil {
		return ours, known
	}
	units, err := h.bus.List(ctx, exportUnits)
	if err != nil {
		return ours, known
	}
	for _, u := range units {
		if _, port, err := net.SplitHostPort(u.ListenAddress); err == nil {
			n, _ := strconv.ParseUint(port, 10, 16)
			ours[uint16(n)] = true
		}
	}
	return ours, true
}

func foreignPorts(ports []uint16, known bool) []Finding {
	var found []Finding
	for i, port := range ports {
		about := one("ports", strconv.Itoa(int(port)))
		if i == maxNamed {
			return append(found, about.error(fmt.Sprintf("and %s more", count(len(ports)-i, "port")), "ss -ltnp shows all listeners")...)
		}
		holder := sockets.Listener(port)
		if !known {
			found = append(found, with(about.warn("held by "+holder+", which may be an export: neither systemd nor the daemon answers",
				"resolve the findings of bus and daemon, then run this again"), "holder", holder)...)
			continue
		}
		hint := "end that process, or move it to another port; or choose another range, here (nbd.first_port, nbd.last_port) and in the tunnel"
		if holder == "unknown" {
			hint = "run 'ss -ltnp' as root to see the process; " + hint
		}
		found = append(found, with(about.error("a port of the exports is held by another process: "+holder, hint), "holder", holder)...)
	}
	return found
}

// ephemeral warns when the kernel may give a port of the range to any outgoing connection (ip-sysctl.rst).
func ephemeral(r nbd.PortRange) []Finding {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return nil // the kernel has no such setting
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return nil
	}
	reserved, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports") // empty if there is no such file
	if n := exposed(r, first, last, strings.TrimSpace(string(reserved))); n > 0 {
		return one("ports", r.String()).warn(fmt.Sprintf("the kernel may use %d of these ports for outgoing connections (%d to %d)", n, first, last),
			fmt.Sprintf("reserve them for the exports: sysctl net.ipv4.ip_local_reserved_ports=%s", r))
	}
	return nil
}

// exposed counts the ports of a range that lie within first and last, and are not reserved: "8080,10100-10200".
func exposed(r nbd.PortRange, first, last int, reserved string) int {
	kept := map[int]bool{}
	for part := range strings.SplitSeq(reserved, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 16)
		b, errB := strconv.ParseUint(to, 10, 16)
		for port := a; errA == nil && errB == nil && port <= b; port++ {
			kept[int(port)] = true
		}
	}
	n := 0
	for port := int(r.First); port <= int(r.Last); port++ {
		if port >= first && port <= last && !kept[port] {
			n++
		}
	}
	return n
}

// listeners checks the addresses that the daemon itself listens on.
func (h *host) listeners(context.Context) []Finding {
	var found []Finding
	for _, l := range []struct {
		key, address string
		enabled      bool
	}{
		{"http.listen", h.config.HTTP.Listen, h.config.HTTP.Enabled},
		{"metrics.listen", h.config.Metrics.Listen, h.config.Metrics.Enabled},
	} {
		if l.enabled {
			found = append(found, listener(one("listeners", l.key), l.address, h.daemonErr == nil)...)
		}
	}
	if !h.config.HTTP.Enabled {
		found = append(found, one("listeners", "http.listen").warn("http is not enabled: the agent does not receive the backup client's reports, unless another program forwards them",
			"set enabled = true in [http] if the tunnel leads the callbacks to this agent")...)
	}
	return found
}

// listener checks one of them. running says whether the daemon answers.
func listener(about subject, address string, running bool) []Finding {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return about.error(err.Error(), "want ADDRESS:PORT")
	}
	port, _ := strconv.ParseUint(text, 10, 16)
	busy, err := sockets.Listening(uint16(port))
	if err != nil {
		return about.skip(err.Error(), "run as root")
	}
	holder := sockets.Listener(uint16(port))
	switch {
	case !busy && running:
		return about.error(address+": the daemon runs but does not listen there", "restart the daemon: it may run with an older configuration")
	case !busy:
		return about.ok(address + " is free for the daemon")
	case strings.HasPrefix(holder, "sendense-agent ") || strings.HasPrefix(holder, "systemd "):
		return with(about.ok(address+" is held by the daemon: "+holder), "holder", holder)
	case holder == "unknown":
		return about.skip(address+": in use, and this user may not see by which process", "run as root")
	}
	return with(about.error(address+" is held by another process: "+holder, "end that process, or set "+about.object+" to another address"), "holder", holder)
}
