package nbd

import (
	"errors"
	"fmt"
)

// ErrNoFreePort is returned when a range has too few free ports.
var ErrNoFreePort = errors.New("no free NBD port")

// PortRange is a range of TCP ports, both ends included.
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

// Next picks n different ports that are not taken, walking up from the port
// behind after and round the end: a port just released comes up again as late
// as possible, so that a client that is late finds nothing on it. after is the
// port handed out last; one outside the range starts at First. Either all n
// ports are given or none: then the error is ErrNoFreePort. n below 1 gives
// none. Keep the last port returned as the next after.
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
	return nil, fmt.Errorf("%w: %d needed, %d of %d free in %s: wait for a backup to end, or widen the range here and in the tunnel",
		ErrNoFreePort, n, len(ports), length, r)
}
