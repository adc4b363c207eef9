package export

import (
	"sync"
	"time"

	"github.com/sendense/backup-agent/nbd/sockets"
)

// Connections is who was connected to which port at the last look. Every run looks once a second, and one look tells of all ports.
type Connections struct {
	mu    sync.Mutex
	at    time.Time
	ports map[uint16]int
}

// Since returns how many clients each port had at a moment that belongs to the same look of all runs, and no earlier than the
// time given: who was connected before that is of no interest, the port was another's then. The map is only read.
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
