package sockets

import (
	"fmt"
	"net/netip"
)

// Taken lists the TCP ports of this network namespace on which nobody else can listen at an address, because a process listens
// there or on all addresses. Unlike the other functions it has no second source: it fails where netlink is forbidden.
func Taken(at netip.Addr) (map[uint16]bool, error) {
	listeners, err := diagSockets(anyPort, tcpListen)
	if err != nil {
		return nil, fmt.Errorf("listing the ports in use: %w", err)
	}
	ports := map[uint16]bool{}
	for _, s := range listeners {
		if s.address.IsUnspecified() || s.address == at {
			ports[s.port] = true
		}
	}
	return ports, nil
}
