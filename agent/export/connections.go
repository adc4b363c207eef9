package export

import (
	"sync"
	"time"

	"github.com/sendense/backup-agent/nbd/sockets"
)

// Connections caches how many clients each port has. Every job asks once a second, and one look at the host's sockets serves all ports.
type Connections struct {
	mu    sync.Mutex
	at    time.Time
	ports map[uint16]int
}

// Since returns how many clients each port had at one look. The look is no older than t, because before t the port may have been
// another's. Callers that ask within half of PollInterval share one look. The caller must not change the map.
func (c *Connections) Since(t time.Time) (map[uint16]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.After(t) && time.Since(c.at) < PollInterval/2 {
		return c.ports, nil
	}
	began := time.Now()
	ports, err := sockets.Clients()
	if err != nil {
		return nil, err
	}
	c.at, c.ports = began, ports
	return ports, nil
}
