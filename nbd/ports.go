package nbd

import (
	"errors"
	"fmt"
)

// ErrNoFreePort: a range has too few free ports.
var ErrNoFreePort = errors.New("no free NBD port")

// PortRange is a range of TCP ports, First and Last included.
type PortRange struct {
	First, Last uint16
}

// Validate refuses an empty range and port 0.
func (r PortRange) Validate() error {
	if r.First == 0 {
		return fmt.Errorf("port range %s: ports begin at 1", r)
	}
	if r.First > r.Last {
		return fmt.Errorf("port range %s: the first port is above the last", r)
	}
	return nil
}

// Len is the number of ports in the range, 0 to 65536.
func (r PortRange) Len() int {
	return max(int(r.Last)-int(r.First)+1, 0)
}

// Contains reports whether port lies in the range.
func (r PortRange) Contains(port uint16) bool {
	return r.First <= port && port <= r.Last
}

func (r PortRange) String() string {
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Next picks n different ports that are not taken, upwards from the port after
// "after", and then from First: a port that was just released is reused as late
// as possible, so that a late client finds nothing on it. after is the port that
// was picked last; if it is outside the range, Next starts at First. Keep the
// last port returned as the next after. Next returns all n ports or none, with
// ErrNoFreePort; for n below 1 it returns none.
func (r PortRange) Next(after uint16, taken func(uint16) bool, n int) ([]uint16, error) {
	if n <= 0 {
		return nil, nil
	}
	length := r.Len()
	start := 0
	if r.Contains(after) {
		start = int(after-r.First) + 1
	}
	ports := make([]uint16, 0, min(n, length))
	for i := range length {
		port := r.First + uint16((start+i)%length)
		if taken(port) {
			continue
		}
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("%w: %d needed, %d of %d free in %s: wait for a backup to end, or extend the range in the configuration and in the tunnel",
		ErrNoFreePort, n, len(ports), length, r)
}
