package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
	"github.com/sendense/backup-agent/nbd"
)

// newSuffix ends the name of a manifest before its commit.
const newSuffix = ".new"

// Publish makes the directory of a backup a restore point: it makes the images read-only and syncs them, then writes the manifest under
// another name and renames it. The rename is the commit. Publish may be called again after a crash at any point; it never replaces a
// manifest.
func (r *Repository) Publish(vm string, m manifest.Manifest) error {
	text, err := m.Encode()
	if err != nil {
		return r.fail(err)
	}
	if want := nbd.DirName(m.VM.Name); vm != want {
		return r.fail(fmt.Errorf("manifest of %s: vm %q belongs in directory %s, not %s", m.BackupID, m.VM.Name, want, vm))
	}
	root, err := r.open()
	if err != nil {
		return r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, m.BackupID)
	if err != nil {
		return r.fail(err)
	}
	defer p.close()
	if _, err := r.owner.read(p); err == nil {
		return r.fail(rooted.Sync(p.dir)) // a crash may have come between the rename and this
	}
	for _, step := range r.owner.publication(p, m, text) {
		failpoint.Reach("publish: " + step.name)
		if err := step.do(); err != nil {
			return r.fail(fmt.Errorf("%s: %w", step.name, err))
		}
	}
	return nil
}

// A step of a publication. A crash may come after each, and each may be repeated.
type step struct {
	name string
	do   func() error
}

// publication lists the steps that make a directory a restore point. After the first the directory belongs to the agent, and nobody
// else can change its entries; only then they are examined.
func (o *Owner) publication(p *place, m manifest.Manifest, text []byte) []step {
	steps := []step{
		{"taking the directory from the exporters' user", func() error { return o.take(p.dir) }},
		{"looking for a manifest", func() error { return o.discardForged(p.dir) }},
	}
	for _, d := range m.Disks {
		steps = append(steps, step{
			fmt.Sprintf("sealing the image of disk %d", d.DiskID),
			func() error { return o.sealImage(p.dir, d.File) },
		})
	}
	return append(steps,
		step{"writing the manifest", func() error { return writeManifest(p.dir, text) }},
		// The directories above are on the disk before the manifest is.
		step{"syncing the directories", func() error { return errors.Join(rooted.Sync(p.dir), rooted.Sync(p.vm), rooted.Sync(p.root)) }},
		step{"committing the manifest", func() error {
			return rooted.Located(p.dir, p.dir.Rename(manifest.FileName+newSuffix, manifest.FileName))
		}},
		step{"syncing the directory", func() error { return rooted.Sync(p.dir) }},
	)
}

// take gives a directory to the agent, and lets the exporters' group read it. It sets the mode before the owner, and again after it,
// because until then the directory was not the agent's. After a crash in between, the exporters' user checks the images again, so it
// must be able to read them all the time.
func (o *Owner) take(dir *os.Root) error {
	if o == nil {
		return nil
	}
	if err := rooted.Chmod(dir, 0o750); err != nil {
		return err
	}
	failpoint.Reach("publish: directory readable")
	if err := rooted.Chown(dir, os.Geteuid(), o.GID); err != nil {
		return err
	}
	failpoint.Reach("publish: directory owned")
	return rooted.Chmod(dir, 0o750)
}

// discardForged removes a manifest that the exporters' user made. If the agent made it and cannot read it now, a person must decide.
func (o *Owner) discardForged(dir *os.Root) error {
	info, err := dir.Lstat(manifest.FileName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return rooted.Located(dir, err)
	case !o.forged(info):
		return fmt.Errorf("%s/%s exists already and cannot be read: look at it, and move it away", dir.Name(), manifest.FileName)
	}
	return rooted.Located(dir, dir.RemoveAll(manifest.FileName))
}

// forged says whether a manifest belongs to the exporters' user, who never writes one.
func (o *Owner) forged(info fs.FileInfo) bool {
	return o != nil && o.UID != os.Geteuid() && ownerOf(info) == o.UID
}

// sealImage makes an image read-only for the exporters' user, whose later exporters may read it as a backing image, and syncs it. The
// order is that of take.
func (o *Owner) sealImage(dir *os.Root, name string) error {
	f, err := rooted.OpenRegular(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o440); err != nil {
		return err
	}
	failpoint.Reach("publish: image readable")
	if o != nil {
		if err := f.Chown(os.Geteuid(), o.GID); err != nil {
			return err
		}
	}
	failpoint.Reach("publish: image owned")
	if err := f.Chmod(0o440); err != nil {
		return err
	}
	failpoint.Reach("publish: image read-only, not synced")
	return f.Sync()
}

// writeManifest writes the manifest under its temporary name.
func writeManifest(dir *os.Root, text []byte) error {
	const name = manifest.FileName + newSuffix
	if err := dir.RemoveAll(name); err != nil { // left by a crash, or not ours
		return rooted.Located(dir, err)
	}
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o440)
	if err != nil {
		return rooted.Located(dir, err)
	}
	failpoint.Reach("publish: manifest begun")
	_, err = f.Write(text)
	failpoint.Reach("publish: manifest written, not synced")
	return errors.Join(err, f.Sync(), f.Close())
}
