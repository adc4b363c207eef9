package merge

import (
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
)

// settle completes or cleans up a merge, whatever interrupted it. The manifest in place tells whether the merge was committed. settle
// may be called again; it fails at once while the repository does not answer. The caller has claimed the restore point.
func (s *Service) settle(id string) error {
	b, err := s.Store.Backup(id)
	if err != nil {
		return err
	}
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return err
	}
	vm, ctx := nbd.DirName(b.VM.Name), storage.UntilStuck(s.Jobs.Work)
	if b.Merge != nil {
		if err := repo.FinishMerge(ctx, vm, id); err != nil { // a crash may have come in the midst of the commit
			return err
		}
		m, err := repo.Manifest(ctx, vm, id)
		if err != nil {
			return err // unknown: its repository may not be mounted
		}
		if err := repo.SyncVM(ctx, vm); err != nil { // a crash may have come between the commit and its sync
			return err
		}
		done := m.Parent == b.Merge.NewParent
		if _, err := s.Records.Change(id, func(b *record.Backup) error {
			if done {
				m.Follow(b)
			}
			b.Merge = nil
			return nil
		}); err != nil {
			return err
		}
		failpoint.Reach("rewrite: recorded")
	}
	return repo.RemoveMerge(ctx, vm, id)
}

// SettleLeft settles the merge that an earlier agent left, unless a job has claimed that restore point.
func (s *Service) SettleLeft(id string) error {
	w, err := s.claim(id, "", nil, true)
	if err != nil || w == nil {
		return err
	}
	defer s.drop(w)
	return s.settle(id)
}
