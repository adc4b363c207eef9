package rebuild

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// Usable says why a restore point cannot be used as the daemon is now, for example because a key is missing; nil if it can.
type Usable func(r *storage.Repository, m manifest.Manifest) error

// Import puts on record what one repository has and the database does not, as Update does, while the agent works with both. It corrects
// no record. A chain with a restore point that is not usable stays out as a whole. Its work is marked in the database until nothing is
// left that may become usable, so an interrupted import is continued. An error is about the repository, the database or ctx.
func Import(ctx context.Context, db *store.Store, r *storage.Repository, usable Usable) (*Report, error) {
	b := newBuilder(ctx, db)
	b.usable, b.live = usable, true
	b.report.Repositories = append(b.report.Repositories, r.ID)
	points, problems, err := r.Points(ctx)
	if err != nil && !errors.Is(err, repository.ErrEmpty) {
		return nil, err
	}
	if len(points) > 0 {
		if err := db.BeginImport(r.ID); err != nil {
			return nil, err
		}
	}
	if err := b.addPoints(r, points, problems); err != nil {
		return nil, err
	}
	if err := b.addVMs(); err != nil {
		return nil, err
	}
	if b.report.Waiting > 0 {
		return b.report, nil
	}
	return b.report, db.EndImport(r.ID)
}

// withKeys returns the restore points of all chains that can be used. The others become problems.
func (b *builder) withKeys(r *storage.Repository, points []repository.Found) (usable []repository.Found, err error) {
	if b.usable == nil {
		return points, nil
	}
	chains, causes := chainsOf(points), map[string]error{}
	for _, p := range points {
		id := p.Manifest.BackupID
		if why := b.usable(r, p.Manifest); why != nil && causes[chains[id]] == nil {
			causes[chains[id]] = fmt.Errorf("it is not imported: restore point %s of its chain cannot be opened: %w", id, why)
		}
	}
	for _, p := range points {
		cause := causes[chains[p.Manifest.BackupID]]
		if cause == nil || b.recorded(p.Manifest.BackupID) {
			usable = append(usable, p)
			continue
		}
		b.report.problem(p.Path, cause)
		b.report.Waiting++
	}
	if b.report.Waiting > 0 {
		err = b.store.BeginImport(r.ID)
	}
	return usable, err
}

// recorded says whether a backup is on record, or was.
func (b *builder) recorded(id string) bool {
	_, err := b.store.Backup(id)
	removed, _ := b.store.Removed(id)
	return err == nil || removed
}

// chainsOf returns the full backup that each restore point is based on, by their ids. Parents come first in the list.
func chainsOf(points []repository.Found) map[string]string {
	full := map[string]string{}
	for _, p := range points {
		m := p.Manifest
		full[m.BackupID] = m.BackupID
		if base, known := full[m.Parent]; known {
			full[m.BackupID] = base
		}
	}
	return full
}
