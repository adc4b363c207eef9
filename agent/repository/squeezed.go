package repository

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// SqueezedSuffix ends the name of an image that takes the place of the image with the rest of the name.
const SqueezedSuffix = ".squeezed"

// KeepSqueezed puts the squeezed image in the place of the image, durably. It does nothing if that was done before.
func (r *Repository) KeepSqueezed(vm, backupID, file string) error {
	return r.fail(r.squeezed(vm, backupID, file, func(p *place) error { return p.dir.Rename(file+SqueezedSuffix, file) }))
}

// DropSqueezed removes a squeezed image, if there is one.
func (r *Repository) DropSqueezed(vm, backupID, file string) error {
	return r.fail(r.squeezed(vm, backupID, file, func(p *place) error { return p.dir.Remove(file + SqueezedSuffix) }))
}

func (r *Repository) squeezed(vm, backupID, file string, do func(p *place) error) error {
	if !manifest.PlainName(file) {
		return fmt.Errorf("file %.300q: want the name of an image", file)
	}
	return r.at(vm, backupID, func(p *place) error {
		if err := do(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return rooted.Located(p.dir, err)
		}
		return rooted.Sync(p.dir)
	})
}
