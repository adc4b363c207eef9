package chain

import (
	"path/filepath"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
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
	path := d.Image
	var layers []qemu.Layer
	for i := 0; ; i++ {
		tools, err := c.Repositories.ImagesFor(repo, d.KeyID)
		if err != nil {
			return nil, err
		}
		layers = append(layers, qemu.Layer{Path: path, Key: tools.Key})
		if d.Backing == "" {
			return layers, nil
		}
		file := filepath.Base(d.Backing)
		if i == len(ancestors) || runOfImage(ancestors[i], file) == nil {
			return nil, Damagef("image %s is based on %s, which is not on record", path, d.Backing)
		}
		path, d = filepath.Join(repositories.DirOf(repo, ancestors[i]), file), *runOfImage(ancestors[i], file)
	}
}

func runOfImage(b record.Backup, file string) *record.DiskRun {
	for i := range b.Runs {
		if filepath.Base(b.Runs[i].Image) == file {
			return &b.Runs[i]
		}
	}
	return nil
}
