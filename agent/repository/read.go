package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd"
)

// ErrNoManifest says that a directory is no restore point.
var ErrNoManifest = errors.New("no manifest")

// Manifest reads the manifest of a backup. ErrNoManifest says that the directory is there, or not, without one.
func (r *Repository) Manifest(vm, backupID string) (manifest.Manifest, error) {
	root, err := r.open()
	if err != nil {
		return manifest.Manifest{}, r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", r.Dir(vm, backupID), ErrNoManifest)
	}
	if err != nil {
		return manifest.Manifest{}, r.fail(err)
	}
	defer p.close()
	m, err := r.read(p)
	return m, r.fail(err)
}

// read reads the manifest of an open directory, and looks that it belongs there.
func (r *Repository) read(p *place) (manifest.Manifest, error) {
	path := filepath.Join(p.dir.Name(), manifest.FileName)
	info, err := p.dir.Lstat(manifest.FileName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return manifest.Manifest{}, fmt.Errorf("%s: %w", p.dir.Name(), ErrNoManifest)
	case err != nil:
		return manifest.Manifest{}, located(p.dir, err)
	case r.forged(info):
		return manifest.Manifest{}, fmt.Errorf("%s: belongs to the exporters' user (uid %d), so the agent did not write it", path, r.owner.UID)
	}
	f, err := openRegular(p.dir, manifest.FileName)
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
	if id := filepath.Base(p.dir.Name()); m.BackupID != id {
		return manifest.Manifest{}, fmt.Errorf("%s: is the manifest of %s, in the directory of %s: give the directory its name back",
			path, m.BackupID, id)
	}
	if vm, want := filepath.Base(p.vm.Name()), nbd.DirName(m.VM.Name); vm != want {
		return manifest.Manifest{}, fmt.Errorf("%s: is of vm %q, which belongs in directory %s, not %s: move it there",
			path, m.VM.Name, want, vm)
	}
	return m, nil
}

// Digest reads an image of a restore point, or of one to be, and returns the digest of its file. No symbolic link is followed.
func (r *Repository) Digest(ctx context.Context, vm, backupID, file string, o digest.Options) (digest.Digest, error) {
	d, err := r.digest(ctx, vm, backupID, file, o)
	return d, r.fail(err)
}

func (r *Repository) digest(ctx context.Context, vm, backupID, file string, o digest.Options) (digest.Digest, error) {
	root, err := r.open()
	if err != nil {
		return digest.Digest{}, err
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if err != nil {
		return digest.Digest{}, err
	}
	defer p.close()
	f, err := openRegular(p.dir, file)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	return digest.OfFile(ctx, f, o)
}
