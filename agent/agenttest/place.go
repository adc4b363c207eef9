package agenttest

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/units"
)

// Worlds of parallel tests share one systemd. Each has a place of its own: ports and a slice that no other World has. An agent leaves
// the units of other agents alone, because its records do not name them. A World that is alone has the place of the default configuration.
var places = struct {
	sync.Mutex
	taken [32]bool
}{}

// takePlace gives a configuration a place until the test ends.
func takePlace(t testing.TB, c *config.Config) {
	t.Helper()
	places.Lock()
	defer places.Unlock()
	for i, taken := range places.taken {
		if taken {
			continue
		}
		places.taken[i] = true
		t.Cleanup(func() {
			places.Lock()
			defer places.Unlock()
			places.taken[i] = false
		})
		if i > 0 {
			ports := c.NBD.LastPort - c.NBD.FirstPort + 1
			c.NBD.FirstPort += uint16(i) * ports
			c.NBD.LastPort += uint16(i) * ports
			c.Agent.Slice = fmt.Sprintf("sendense-nbd-%d.slice", i)
		}
		return
	}
	t.Fatal("too many Worlds at the same time")
}

// ours reports whether a unit is in the place of the World.
func (w *World) ours(u units.Unit) bool {
	if u.Slice == w.Config.Agent.Slice {
		return true
	}
	_, port, err := net.SplitHostPort(u.ListenAddress)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= int(w.Config.NBD.FirstPort) && n <= int(w.Config.NBD.LastPort)
}
