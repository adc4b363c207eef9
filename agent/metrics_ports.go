package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/sockets"
)

var descPorts = prometheus.NewDesc("sendense_agent_ports",
	"Ports for exports: leased, cooling (the client of an earlier backup may still be running), foreign (held by another process) and free.",
	[]string{"state"}, nil)

// The states of a port in the range.
const (
	portLeased  = "leased"
	portCooling = "cooling"
	portForeign = "foreign"
	portFree    = "free"
)

func (sc *scrape) ports(context.Context) ([]prometheus.Metric, error) {
	count, err := sc.agent.countPorts()
	if err != nil {
		return nil, err
	}
	var list []prometheus.Metric
	for _, state := range []string{portLeased, portCooling, portForeign, portFree} {
		list = append(list, gauge(descPorts, float64(count[state]), state))
	}
	return list, nil
}

// countPorts counts the ports of the range by state. A port is leased before its exporter listens on it, and returned after the exporter
// has ended. So a port with a listener that is leased neither before nor after the look at the listeners belongs to another process. A
// port on which another process was found lately counts as foreign too: it is not tried.
func (a *Agent) countPorts() (map[string]int, error) {
	before, err := a.store.Leases()
	if err != nil {
		return nil, err
	}
	host, err := netip.ParseAddr(a.config.NBD.Host)
	if err != nil {
		return nil, err
	}
	listening, err := sockets.Taken(host)
	if err != nil {
		return nil, err
	}
	leases, err := a.store.Leases()
	if err != nil {
		return nil, err
	}
	cooling, _, err := a.store.Cooling(time.Now())
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	leased, ours, cooldowns := portSet(leases), portSet(before), map[uint16]bool{}
	for _, c := range cooling {
		cooldowns[c.Port] = true
	}
	for port := int(a.Ports.Range.First); port <= int(a.Ports.Range.Last); port++ {
		count[a.portState(uint16(port), leased, ours, cooldowns, listening)]++
	}
	return count, nil
}

func (a *Agent) portState(p uint16, leased, ours, cooling, listening map[uint16]bool) string {
	switch {
	case leased[p]:
		return portLeased
	case cooling[p]:
		return portCooling
	case listening[p] && !ours[p], a.Ports.Foreign.Has(p):
		return portForeign
	}
	return portFree
}

func portSet(leases []record.Lease) map[uint16]bool {
	set := map[uint16]bool{}
	for _, l := range leases {
		set[l.Port] = true
	}
	return set
}
