package sockets

import (
	"net"
	"net/netip"
	"testing"
)

// TestTaken: a port is taken at an address if a process listens there or on all addresses, of IPv4 or IPv6.
func TestTaken(t *testing.T) {
	at := netip.MustParseAddr("127.0.0.1")
	for address, want := range map[string]bool{"127.0.0.1:0": true, "0.0.0.0:0": true, "[::]:0": true, "127.0.0.2:0": false, "[::1]:0": false} {
		l, port := listen(t, address)
		ports, err := Taken(at)
		if err != nil || ports[port] != want {
			t.Errorf("%s: taken %v, error %v", address, ports[port], err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if ports, err := Taken(at); err != nil || ports[port] {
			t.Errorf("%s: taken %v after it was closed, error %v", address, ports[port], err)
		}
	}
	l, port := listen(t, "127.0.0.1:0")
	client, err := net.Dial("tcp", l.Addr().String()) // its own port is not taken
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ports, err := Taken(at)
	if own := client.LocalAddr().(*net.TCPAddr).Port; err != nil || !ports[port] || ports[uint16(own)] {
		t.Errorf("listener %v, client %v, error %v", ports[port], ports[uint16(own)], err)
	}
}
