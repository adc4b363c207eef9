package chain

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Layers returns the layers of a disk of a backup, the newest first, each with its key. It returns a *Damage if a layer is not on record.
func (c *Chains) Layers(b record.Backup, d record.DiskRun) ([]qemu.Layer, error) {
	repo, err := c.Repositories.Find(b.Repository)
	if err != nil {
		return nil, err
	}
	ancestors, err := c.Ancestors(b)
	if err != nil {
		return nil, err
	}
	layers, err := Recorded(repo, b, d, ancestors)
	if err != nil {
		return nil, err
	}
	return c.WithKeys(repo, layers)
}
