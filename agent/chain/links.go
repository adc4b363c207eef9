package chain

import (
	"path/filepath"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Links are the images that a disk of a backup consists of, the newest first, with what opens each.
func (c *Chains) Links(b record.Backup, d record.DiskRun) ([]qemu.Layer, error) {
	repo, err := c.Repositories.Find(b.Repository)
	if err != nil {
		return nil, err
	}
	ancestors, err := c.Ancestors(b)
	if err != nil {
		return nil, err
	}
	path := d.Image
	var links []qemu.Layer
	for i := 0; ; i++ {
		tools, err := c.Repositories.ToolsFor(repo, d.KeyID)
		if err != nil {
			return nil, err
		}
		links = append(links, qemu.Layer{Path: path, Key: tools.Key})
		if d.Backing == "" {
			return links, nil
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
