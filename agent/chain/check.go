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
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Every reader of a chain (restore, verification, incremental, merge) reads manifests with ReadPoint and checks images with CheckImage.
// It also respects the damage on record (knownDamaged, DamageOf). See docs/decisions/0030-inherited-damage.md.

// ReadPoint reads the manifest of a restore point, checks that it names the parent that is on record, and makes the files readable for
// the exporters' group. The error is a *Damage if the manifest is not what was written.
func (c *Chains) ReadPoint(ctx context.Context, repo *storage.Repository, p record.Backup) (manifest.Manifest, error) {
	if err := repo.Mounted(ctx); err != nil {
		return manifest.Manifest{}, &unseenError{err}
	}
	vm := nbd.DirName(p.VM.Name)
	m, err := repo.Manifest(ctx, vm, p.ID)
	if err == nil && m.Parent != p.Parent {
		err = Damagef("%s names the parent %q, the record %q", filepath.Join(repositories.DirOf(repo, p), manifest.FileName), m.Parent, p.Parent)
	}
	if err != nil {
		return m, Finding(err)
	}
	if err := repo.Share(ctx, vm, m); err != nil {
		c.Log.Warn("cannot make a restore point readable for the exporters' user", logkey.BackupID, p.ID, logkey.Error, err)
	}
	return m, nil
}

// CheckImage compares an image with its manifest in all that is cheap: size, owner and mode of the file, its header, and whether the file
// is long enough for its content. Every image is checked before QEMU follows a backing file. An image can name any file as its backing,
// so the name must be the one that was written.
func (c *Chains) CheckImage(ctx context.Context, repo *storage.Repository, p record.Backup, d manifest.Disk) error {
	path := filepath.Join(repositories.DirOf(repo, p), d.File)
	var changed *repository.Changed
	looked := repo.LookAt(ctx, nbd.DirName(p.VM.Name), p.ID, d)
	if looked != nil && !errors.As(looked, &changed) {
		return Finding(looked)
	}
	info, short := repo.Images(qemu.Secret{}).Whole(ctx, path)
	if short != nil && !errors.Is(short, qcow2.ErrCutShort) {
		if err := Finding(short); looked == nil || !isDamage(err) {
			return err
		}
		return Damagef("%w; %w", looked, short) // the wrong size explains more than the missing end
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

// CheckContent checks the metadata of an image. If the image is encrypted, it also proves that the key opens it: nothing else can prove
// that.
func (c *Chains) CheckContent(ctx context.Context, repo *storage.Repository, p record.Backup, d manifest.Disk) error {
	return c.withKey(repo, p, d, func(images storage.Images, path string) error {
		_, err := images.Check(ctx, path)
		return err
	})
}

// CheckKey proves that the key of an image opens it. An image that is not encrypted passes.
func (c *Chains) CheckKey(ctx context.Context, repo *storage.Repository, p record.Backup, d manifest.Disk) error {
	if d.KeyID() == "" {
		return nil
	}
	return c.withKey(repo, p, d, func(images storage.Images, path string) error { return images.Unlock(ctx, path) })
}

func (c *Chains) withKey(repo *storage.Repository, p record.Backup, d manifest.Disk, f func(images storage.Images, path string) error) error {
	path := filepath.Join(repositories.DirOf(repo, p), d.File)
	images, err := c.Repositories.ImagesFor(repo, d.KeyID())
	if err != nil {
		return err
	}
	err = f(images, path)
	if errors.Is(err, qemu.ErrWrongKey) {
		return repositories.WrongKey(repo, d.KeyID(), path)
	}
	return Finding(err)
}

// CheckBase checks that the image that another is based on is one of the parent's. It returns a *Damage if it is not.
func CheckBase(d manifest.Disk, below *manifest.Manifest) error {
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

// Prove proves that a restore point and all that it is based on match their manifests, and that the images of the point itself pass their
// check. The caller builds on the chain, so any damage is an error.
func (c *Chains) Prove(ctx context.Context, repo *storage.Repository, point record.Backup) error {
	points, err := c.Points(point)
	if err != nil {
		return err
	}
	if err := repo.Mounted(ctx); err != nil {
		return err
	}
	var above *manifest.Manifest
	for i, p := range points {
		if err := knownDamaged(p); err != nil {
			return err
		}
		m, err := c.ReadPoint(ctx, repo, p)
		if err != nil {
			return err
		}
		if above != nil {
			for _, d := range above.Disks {
				if err := CheckBase(d, &m); err != nil {
					return fmt.Errorf("disk %d of %s: %w", d.DiskID, above.BackupID, err)
				}
			}
		}
		above = &m
		for _, d := range m.Disks {
			err := c.CheckImage(ctx, repo, p, d)
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
