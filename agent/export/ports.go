package export

import "github.com/sendense/backup-agent/nbd"

// Ports is the range of ports for exports, and what keeps a port of it from being leased.
type Ports struct {
	Range     nbd.PortRange
	Foreign   ForeignPorts
	Cooldowns Cooldowns
}

// Choose picks ports in rotation that are neither taken, nor resting, nor known to be held by a foreign process.
func (a *Ports) Choose(after uint16, taken func(uint16) bool, n int) ([]uint16, error) {
	return a.Range.Next(after, func(p uint16) bool { return taken(p) || a.Foreign.Has(p) || a.Cooldowns.hasPort(p) }, n)
}
