package agent

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// A ChainPoint is a restore point with its use of the disk.
type ChainPoint struct {
	Backup         record.Backup
	AllocatedBytes int64  // disk space that its images use now
	Problem        string // an image that cannot be read, or a parent that is not on record; "" = none
}

// Chain lists the restore points of a VM in one repository, or in all if the id is empty. The one made first comes first, whatever their
// dates. A VM that is not on record may still have restore points. If it has none, Chain fails with reason VMNotFound.
func (a *Agent) Chain(ctx context.Context, vm, repositoryID string) ([]ChainPoint, error) {
	if vm == "" {
		return nil, fault.New(fault.InvalidRequest, "vm_name is missing")
	}
	if repositoryID != "" {
		if _, err := a.Repositories.Find(repositoryID); err != nil {
			return nil, err
		}
	}
	found, err := a.pointsOf(vm, repositoryID)
	if err != nil {
		return nil, ledger.NotFound(err)
	}
	if len(found) == 0 {
		if _, err := a.Inventory.Get(vm); err != nil {
			return nil, err
		}
	}
	there := map[string]bool{}
	for _, b := range found {
		there[b.ID] = true
	}
	points := make([]ChainPoint, len(found))
	for i, b := range found {
		points[i] = a.measure(storage.FailFast(ctx), b)
		if b.Parent != "" && !there[b.Parent] {
			points[i].Problem = fmt.Sprintf("its parent %s is not on record", b.Parent)
		}
	}
	return points, nil
}

func (a *Agent) pointsOf(vm, repositoryID string) (points []record.Backup, err error) {
	q := store.Query{VMName: vm, State: record.Completed, Repository: repositoryID, Limit: store.MaxPage}
	for {
		page, next, err := a.store.Backups(q)
		if err != nil {
			return nil, err
		}
		points = append(points, page...)
		if q.Cursor = next; next == "" {
			break
		}
	}
	slices.Reverse(points) // oldest first: points of equal sequence keep the order of their dates
	slices.SortStableFunc(points, func(x, y record.Backup) int { return cmp.Compare(x.Sequence, y.Sequence) })
	return points, nil
}

// measure reads how much disk space the images of a restore point use.
func (a *Agent) measure(ctx context.Context, b record.Backup) ChainPoint {
	p := ChainPoint{Backup: b}
	repo, err := a.Repositories.Find(b.Repository)
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	for _, d := range b.Runs {
		n, err := allocated(ctx, repo, b, filepath.Base(d.Image))
		if err != nil && p.Problem == "" {
			p.Problem = err.Error()
		}
		p.AllocatedBytes += n
	}
	return p
}

func allocated(ctx context.Context, repo *storage.Repository, b record.Backup, file string) (int64, error) {
	info, err := repo.Stat(ctx, filepath.Join(repositories.DirOf(repo, b), file))
	return info.AllocatedBytes, err
}
