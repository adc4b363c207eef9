package chain

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// ProveKey proves, before a full backup, that the key of new images opens the newest restore point that was made with a key of that name.
// Two keys of one name could not be told apart later. An incremental proves the key by its parent.
func (c *Chains) ProveKey(ctx context.Context, vm record.VM, repo *storage.Repository) error {
	id := c.Repositories.NewKey(repo)
	newest, found, err := c.Store.LatestCompleted(vm.Name, repo.ID)
	if id == "" || err != nil || !found || newest.Runs[0].KeyID != id {
		return fault.From(err).OrNil()
	}
	tools, err := c.Repositories.ImagesFor(repo, id)
	if err != nil {
		return err
	}
	image := filepath.Join(repositories.DirOf(repo, newest), filepath.Base(newest.Runs[0].Image))
	if err := tools.Unlock(ctx, image); errors.Is(err, qemu.ErrWrongKey) {
		return repositories.WrongKey(repo, id, image)
	}
	return nil // any other problem of an old restore point does not prevent a full backup
}
