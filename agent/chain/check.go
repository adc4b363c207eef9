package chain

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Whatever reads a chain, be it a restore, a verification, an incremental that is to stand on it or a merge, looks at its manifests by
// readPoint and at its images by checkImage, and goes by the damage on record (knownDamaged, damageOf). See
// docs/decisions/0030-inherited-damage.md.

// readPoint reads the manifest of a restore point, looks that it is of that point, and lets the exporters' group read it.
func (c *Chains) ReadPoint(repo *repository.Repository, p record.Backup) (manifest.Manifest, error) {
	if err := repositories.RequireMounted(repo); err != nil {
		return manifest.Manifest{}, &unseenError{err}
	}
	vm := nbd.DirName(p.VM.Name)
	m, err := repo.Manifest(vm, p.ID)
	if err == nil && m.Parent != p.Parent {
		err = Damagef("%s names the parent %q, the record %q", filepath.Join(repositories.DirOf(repo, p), manifest.FileName), m.Parent, p.Parent)
	}
	if err != nil {
		return m, Finding(err)
	}
	if err := repo.Share(vm, m); err != nil {
		c.Log.Warn("cannot make a restore point readable for the exporters' user", logkey.BackupID, p.ID, logkey.Error, err)
	}
	return m, nil
}

// CheckImage compares an image with its manifest in all that costs next to nothing: size, owner and mode of the file, what its header
// says, and whether the file is long enough for what is in it. Every image is looked at before QEMU follows a backing file, for an image
// can name any file as its backing: what it names must be what was made.
func (c *Chains) CheckImage(repo *repository.Repository, p record.Backup, d manifest.Disk) error {
	path := filepath.Join(repositories.DirOf(repo, p), d.File)
	var changed *repository.Changed
	looked := repo.LookAt(nbd.DirName(p.VM.Name), p.ID, d)
	if looked != nil && !errors.As(looked, &changed) {
		return Finding(looked)
	}
	info, short := c.Tools.Whole(path)
	if short != nil && !errors.Is(short, qcow2.ErrCutShort) {
		if err := Finding(short); looked == nil || !isDamage(err) {
			return err
		}
		return Damagef("%w; %w", looked, short) // its size says more than what is left of it
	}
	switch {
	case info.VirtualBytes != d.CapacityBytes:
		return Damagef("image %s has %d bytes, its manifest says %d", path, info.VirtualBytes, d.CapacityBytes)
	case info.BackingFile != d.Backing:
		return Damagef("image %s is based on %q, its manifest says %q", path, info.BackingFile, d.Backing)
	case info.BackingFile != "" && info.BackingFormat != qemu.ImageFormat:
		return Damagef("image %s is based on %q with format %q: want %s", path, info.BackingFile, info.BackingFormat, qemu.ImageFormat)
	case info.Encrypted != (d.KeyID() != ""):
		return Damagef("image %s is encrypted: %v, its manifest says %v", path, info.Encrypted, d.KeyID() != "")
	}
	if looked != nil {
		return Finding(looked)
	}
	if info.Corrupt || info.Dirty {
		return readableDamage("image %s is marked as damaged", path)
	}
	return Finding(short)
}

// CheckContent checks the metadata of an image and, of one that is encrypted, proves that the key opens it, which nothing but that
// tells.
func (c *Chains) CheckContent(ctx context.Context, repo *repository.Repository, p record.Backup, d manifest.Disk) error {
	return c.withKey(repo, p, d, func(tools qemu.Tools, path string) error {
		_, err := tools.Check(ctx, path)
		return err
	})
}

// CheckKey proves that the key of an image opens it; of one that is plain there is nothing to prove.
func (c *Chains) CheckKey(ctx context.Context, repo *repository.Repository, p record.Backup, d manifest.Disk) error {
	if d.KeyID() == "" {
		return nil
	}
	return c.withKey(repo, p, d, func(tools qemu.Tools, path string) error { return tools.Unlock(ctx, path) })
}

func (c *Chains) withKey(repo *repository.Repository, p record.Backup, d manifest.Disk, f func(tools qemu.Tools, path string) error) error {
	path := filepath.Join(repositories.DirOf(repo, p), d.File)
	tools, err := c.Repositories.ToolsFor(repo, d.KeyID())
	if err != nil {
		return err
	}
	err = f(tools, path)
	if errors.Is(err, qemu.ErrWrongKey) {
		return repositories.WrongKey(repo, d.KeyID(), path)
	}
	return Finding(err)
}

// StandsOnFile looks that the image that another stands on is one of the parent's.
func StandsOnFile(d manifest.Disk, below *manifest.Manifest) error {
	if d.Backing == "" || below == nil {
		return nil
	}
	for _, from := range below.Disks {
		if d.Backing == path.Join("..", below.BackupID, from.File) {
			return nil
		}
	}
	return Damagef("is based on %s, which is not an image of its parent", d.Backing)
}

// Prove proves that a restore point and all it stands on are what their manifests say, and of the point itself that its images
// pass their check. Whoever calls it builds on the chain, so any damage is too much.
func (c *Chains) Prove(ctx context.Context, repo *repository.Repository, point record.Backup) error {
	points, err := c.Points(point)
	if err != nil {
		return err
	}
	if err := repositories.RequireMounted(repo); err != nil {
		return err
	}
	var above *manifest.Manifest
	for i, p := range points {
		if err := knownDamaged(p); err != nil {
			return err
		}
		m, err := c.ReadPoint(repo, p)
		if err != nil {
			return err
		}
		if above != nil {
			for _, d := range above.Disks {
				if err := StandsOnFile(d, &m); err != nil {
					return fmt.Errorf("disk %d of %s: %w", d.DiskID, above.BackupID, err)
				}
			}
		}
		above = &m
		for _, d := range m.Disks {
			err := c.CheckImage(repo, p, d)
			if err == nil && i == 0 {
				err = c.CheckContent(ctx, repo, p, d)
			} else if err == nil {
				err = c.CheckKey(ctx, repo, p, d)
			}
			if err != nil {
				return fmt.Errorf("disk %d of %s: %w", d.DiskID, p.ID, err)
			}
		}
	}
	return nil
}
