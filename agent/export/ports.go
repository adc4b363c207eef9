package export

import "github.com/sendense/backup-agent/nbd"

// Ports is the range of ports for exports, with the ports that must not be leased now.
type Ports struct {
	Range     nbd.PortRange
	Foreign   ForeignPorts
	Cooldowns Cooldowns
}

// Choose picks n ports in rotation, from the one after the given port. It skips ports that are taken, cool down, or were held by another
// process lately. It fails if fewer than n are left.
func (a *Ports) Choose(after uint16, taken func(uint16) bool, n int) ([]uint16, error) {
	return a.Range.Next(after, func(p uint16) bool { return taken(p) || a.Foreign.Has(p) || a.Cooldowns.hasPort(p) }, n)
}
