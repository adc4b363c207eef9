package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// A Changed error says that a file of a restore point is not as it was left when the backup finished, in what does not keep QEMU from
// reading it: its size, whom it belongs to, who may write it. It names the file.
type Changed struct{ Path, How string }

func (e *Changed) Error() string { return e.Path + " " + e.How }

// LookAt compares what the file system says of an image with what it was when the backup finished: that there is a regular file of its
// size, and that nobody but the agent could write it since. Owner and mode are compared with those of the manifest, which the agent
// wrote in the same way: where a file system keeps neither, or a repository was copied by another user, both are alike. It is a *Changed
// for a file that can be read all the same.
func (r *Repository) LookAt(vm, backupID string, d manifest.Disk) error {
	root, err := r.open()
	if err != nil {
		return r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if err != nil {
		return r.fail(err)
	}
	defer p.close()
	image, err := p.dir.Lstat(d.File)
	if err != nil {
		return r.fail(located(p.dir, err))
	}
	if !image.Mode().IsRegular() {
		return r.fail(notPlain(p.dir, image, "regular file"))
	}
	manifest, err := p.dir.Lstat(manifest.FileName)
	if err != nil {
		return r.fail(located(p.dir, err))
	}
	dir, err := p.dir.Lstat(".")
	if err != nil {
		return r.fail(located(p.dir, err))
	}
	path := filepath.Join(p.dir.Name(), d.File)
	how := errors.Join(changedSize(image, d), r.changedRights(image, manifest), r.changedDirectory(dir, manifest))
	if how != nil {
		return &Changed{Path: path, How: how.Error()}
	}
	return nil
}

func changedSize(image fs.FileInfo, d manifest.Disk) error {
	if d.Digest == nil || image.Size() == d.Digest.Bytes {
		return nil
	}
	return fmt.Errorf("has %d bytes, and had %d when the backup finished", image.Size(), d.Digest.Bytes)
}

// changedRights says that somebody else could write an image, or that its exporter cannot read it.
func (r *Repository) changedRights(image, manifest fs.FileInfo) error {
	mode := image.Mode().Perm()
	switch {
	case ownerOf(image) != os.Geteuid() && ownerOf(image) != ownerOf(manifest):
		return fmt.Errorf("belongs to uid %d, and its manifest to uid %d: give it back with chown when you know why", ownerOf(image), ownerOf(manifest))
	case mode&0o022&^manifest.Mode().Perm() != 0:
		return fmt.Errorf("can be written by others (mode %04o): set it back to 0440 when you know why", mode)
	case mode&0o444 == 0 || r.owner != nil && mode&0o044 == 0:
		return fmt.Errorf("cannot be read by its exporter (mode %04o): set it back to 0440", mode)
	}
	return nil
}

// changedDirectory says that somebody else could put another file in the place of an image.
func (r *Repository) changedDirectory(dir, manifest fs.FileInfo) error {
	switch {
	case ownerOf(dir) != os.Geteuid() && ownerOf(dir) != ownerOf(manifest):
		return fmt.Errorf("lies in a directory of uid %d, and its manifest belongs to uid %d: give it back with chown when you know why",
			ownerOf(dir), ownerOf(manifest))
	case dir.Mode().Perm()&0o022&^manifest.Mode().Perm() != 0:
		return fmt.Errorf("lies in a directory that others can write (mode %04o): set it back to 0750 when you know why", dir.Mode().Perm())
	}
	return nil
}
