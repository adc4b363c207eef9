package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// A Changed error says that a file of a restore point has changed since the backup finished, in a way that does not stop QEMU from
// reading it: its size, its owner, who may write it. It names the file.
type Changed struct{ Path, How string }

func (e *Changed) Error() string { return e.Path + " " + e.How }

// LookAt checks the file of an image without reading it: it is a regular file of the recorded size, and only the agent could write it
// since the backup finished. Owner and mode are compared with those of the manifest, which the agent wrote in the same way: where a
// file system keeps neither, or another user copied the repository, both are the same. The error is a *Changed if the file can be read
// all the same.
func (r *Repository) LookAt(vm, backupID string, d manifest.Disk) error {
	var changed error
	err := r.at(vm, backupID, func(p *place) (err error) {
		changed, err = r.owner.lookAt(p.dir, d)
		return err
	})
	if err != nil {
		return r.fail(err)
	}
	return changed
}

// lookAt returns what has changed, and separately why it could not be checked.
func (o *Owner) lookAt(dir *os.Root, d manifest.Disk) (changed, err error) {
	image, err := dir.Lstat(d.File)
	if err != nil {
		return nil, rooted.Located(dir, err)
	}
	if !image.Mode().IsRegular() {
		return nil, rooted.NotPlain(dir, image, "regular file")
	}
	description, err := dir.Lstat(manifest.FileName)
	if err != nil {
		return nil, rooted.Located(dir, err)
	}
	own, err := dir.Lstat(".")
	if err != nil {
		return nil, rooted.Located(dir, err)
	}
	how := errors.Join(changedSize(image, d), o.changedRights(image, description), changedDirectory(own, description))
	if how != nil {
		return &Changed{Path: filepath.Join(dir.Name(), d.File), How: how.Error()}, nil
	}
	return nil, nil
}

func changedSize(image fs.FileInfo, d manifest.Disk) error {
	if d.Digest == nil || image.Size() == d.Digest.Bytes {
		return nil
	}
	return fmt.Errorf("has %d bytes, but had %d when the backup finished", image.Size(), d.Digest.Bytes)
}

// changedRights returns an error if somebody else can write an image, or if its exporter cannot read it.
func (o *Owner) changedRights(image, manifest fs.FileInfo) error {
	mode := image.Mode().Perm()
	switch {
	case ownerOf(image) != os.Geteuid() && ownerOf(image) != ownerOf(manifest):
		return fmt.Errorf("belongs to uid %d, its manifest to uid %d: find out why, then change it back with chown", ownerOf(image), ownerOf(manifest))
	case mode&0o022&^manifest.Mode().Perm() != 0:
		return fmt.Errorf("can be written by others (mode %04o): find out why, then set it back to 0440", mode)
	case mode&0o444 == 0 || o != nil && mode&0o044 == 0:
		return fmt.Errorf("cannot be read by its exporter (mode %04o): set it back to 0440", mode)
	}
	return nil
}

// changedDirectory returns an error if somebody else can replace an image.
func changedDirectory(dir, manifest fs.FileInfo) error {
	switch {
	case ownerOf(dir) != os.Geteuid() && ownerOf(dir) != ownerOf(manifest):
		return fmt.Errorf("is in a directory of uid %d, its manifest belongs to uid %d: find out why, then change it back with chown",
			ownerOf(dir), ownerOf(manifest))
	case dir.Mode().Perm()&0o022&^manifest.Mode().Perm() != 0:
		return fmt.Errorf("is in a directory that others can write (mode %04o): find out why, then set it back to 0750", dir.Mode().Perm())
	}
	return nil
}
