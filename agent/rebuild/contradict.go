package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/agent/storage"
)

// contradiction says why a restore point in a repository is not what the database has under its id; nil if it is, or will be:
// the daemon completes an active backup when it finds the manifest. It never advises to remove anything. Two restore points are
// known to be copies of each other only after every image was read, and no image is read here.
func contradiction(ctx context.Context, r *storage.Repository, known record.Backup, m manifest.Manifest, directory string) error {
	switch {
	case known.Directory != directory:
		return elsewhere(ctx, r, known, m, directory)
	case known.Repository != r.ID:
		return fmt.Errorf("backup %s is on record in repository %s, and this directory belongs to repository %s now: give the repository its "+
			"old id, or %s", known.ID, known.Repository, r.ID, toImport)
	case known.State.Terminal() && known.State != record.Completed && known.State != record.Deleting:
		return fmt.Errorf("backup %s is on record as %s, and has a manifest: keep it, and see 'sendensectl backup show %s'; %s",
			known.ID, known.State, known.ID, toImport)
	}
	return nil
}

// toImport says how a restore point gets on record that contradicts the present records.
const toImport = "to import it, move the database away and run 'sendense-agent rebuild'"

func errDeleted(id string) error {
	return fmt.Errorf("backup %s is on record as deleted, and its directory is here with its manifest, as if put back from a copy: it is kept and not "+
		"imported; %s", id, toImport)
}

// elsewhere tells what is known of a restore point that is on record in another directory.
func elsewhere(ctx context.Context, r *storage.Repository, known record.Backup, m manifest.Manifest, directory string) error {
	found, hereErr := r.Stat(ctx, directory)
	recorded, err := overlap.Look(known.Directory) // any directory
	on := fmt.Sprintf("backup %s is on record in %s", known.ID, known.Directory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s, which does not exist: if the repository was moved: %s", on, toImport)
	case err != nil || hereErr != nil:
		return fmt.Errorf("%s, which cannot be read: keep both", on)
	case recorded.Inode == (overlap.Inode{Dev: found.Device, Ino: found.Inode}):
		return fmt.Errorf("%s, which is the same directory under another name: remove nothing, and correct the path of the repository", on)
	}
	if what, _ := m.Disagrees(known); what != "" {
		return fmt.Errorf("%s, and that one differs: %s: keep both", on, what)
	}
	return fmt.Errorf("%s, and the two manifests agree, but no image was compared: "+
		"keep both, or compare every image first: diff -r %s %s", on, filepath.Clean(known.Directory), directory)
}
