package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
	"github.com/sendense/backup-agent/nbd"
)

// ErrNoManifest says that a directory is not a restore point.
var ErrNoManifest = errors.New("no manifest")

// Manifest reads the manifest of a backup. ErrNoManifest says that there is none, or no directory.
func (r *Repository) Manifest(vm, backupID string) (m manifest.Manifest, err error) {
	err = r.within(func(dirs []*os.Root) error {
		p, err := r.enter(dirs[0], vm, backupID)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", r.Dir(vm, backupID), ErrNoManifest)
		}
		if err != nil {
			return err
		}
		defer p.close()
		m, err = r.owner.read(p)
		return err
	})
	return m, r.fail(err)
}

// read reads the manifest of an open directory, and checks that it belongs there.
func (o *Owner) read(p *place) (manifest.Manifest, error) {
	return o.readOf(p, filepath.Base(p.dir.Name()))
}

// readOf is read for a directory that has, or will have, the name of a backup.
func (o *Owner) readOf(p *place, id string) (manifest.Manifest, error) {
	path := filepath.Join(p.dir.Name(), manifest.FileName)
	info, err := p.dir.Lstat(manifest.FileName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return manifest.Manifest{}, fmt.Errorf("%s: %w", p.dir.Name(), ErrNoManifest)
	case err != nil:
		return manifest.Manifest{}, rooted.Located(p.dir, err)
	case o.forged(info):
		return manifest.Manifest{}, fmt.Errorf("%s: belongs to the exporters' user (uid %d), so the agent did not write it", path, o.UID)
	}
	f, err := rooted.OpenRegular(p.dir, manifest.FileName)
	if err != nil {
		return manifest.Manifest{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, manifest.MaxBytes+1))
	if err != nil {
		return manifest.Manifest{}, err
	}
	m, err := manifest.Decode(text)
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	if m.BackupID != id {
		return manifest.Manifest{}, fmt.Errorf("%s: is the manifest of %s, in the directory of %s: rename the directory back",
			path, m.BackupID, id)
	}
	if vm, want := filepath.Base(p.vm.Name()), nbd.DirName(m.VM.Name); vm != want {
		return manifest.Manifest{}, fmt.Errorf("%s: is of vm %q, which belongs in directory %s, not %s: move it there",
			path, m.VM.Name, want, vm)
	}
	return m, nil
}

// Digest reads an image of a backup, and returns the digest of its file. It follows no symbolic link.
func (r *Repository) Digest(ctx context.Context, vm, backupID, file string, o digest.Options) (d digest.Digest, err error) {
	err = r.at(vm, backupID, func(p *place) (err error) {
		d, err = digestOf(ctx, p.dir, file, o)
		return err
	})
	return d, r.fail(err)
}

func digestOf(ctx context.Context, dir *os.Root, file string, o digest.Options) (digest.Digest, error) {
	f, err := rooted.OpenRegular(dir, file)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	return digest.OfFile(ctx, f, o)
}
