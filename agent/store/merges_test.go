package store

import (
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/rules"
)

// changeMerging changes a record during a merge.
func changeMerging(s *Store, id string, f func(b *record.Backup)) error {
	_, _, err := s.Update(id, start.AddDate(0, 1, 0), func(b *record.Backup) error {
		f(b)
		return nil
	})
	return err
}

func begin(s *Store, id, onto string) error {
	return changeMerging(s, id, func(b *record.Backup) { b.Merge = &record.Merge{NewParent: onto, StartedAt: start} })
}

func commitMerge(s *Store, id string) error {
	return changeMerging(s, id, func(b *record.Backup) { b.Merge.Committing = true })
}

// TestMerge: a restore point gets a new parent in three transactions, and the lists follow.
func TestMerge(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 4)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	must(t, commitMerge(s, chain[2].ID))
	must(t, changeMerging(s, chain[2].ID, func(b *record.Backup) { b.Parent, b.Merge = chain[0].ID, nil }))
	step(t, s, chain[1], record.Deleting) // it has no children any more
	must(t, s.RemoveBackup(chain[1].ID, start))
	must(t, begin(s, chain[2].ID, ""))
	list, err := s.Merges()
	if err != nil || len(list) != 1 || list[0].ID != chain[2].ID {
		t.Errorf("%+v, %v", list, err)
	}
	must(t, commitMerge(s, chain[2].ID))
	must(t, changeMerging(s, chain[2].ID, func(b *record.Backup) { b.Parent, b.Type, b.Merge = "", record.Full, nil }))
	if children, err := s.Children(chain[0].ID); err != nil || len(children) != 0 {
		t.Errorf("%+v, %v", children, err)
	}
	must(t, s.Check(t.Context()))
}

// TestMergeIsRefused: which merges are refused, and what is refused during one.
func TestMergeIsRefused(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 3)
	var parent *rules.ParentError
	for name, onto := range map[string]string{"its parent": chain[1].ID, "itself": chain[2].ID, "nobody": "backup-a-1"} {
		if err := begin(s, chain[2].ID, onto); !errors.As(err, &parent) {
			t.Errorf("onto %s: %v", name, err)
		}
	}
	var immutable *rules.ImmutableError
	if err := changeMerging(s, chain[2].ID, func(b *record.Backup) { b.Parent, b.Type = "", record.Full }); !errors.As(err, &immutable) {
		t.Errorf("an incremental became a full backup all by itself: %v", err)
	}
	must(t, begin(s, chain[2].ID, chain[0].ID))
	var merging *rules.MergingError
	if err := changeMerging(s, chain[2].ID, func(b *record.Backup) { b.State = record.Deleting }); !errors.As(err, &merging) {
		t.Errorf("it may be deleted: %v", err)
	}
	if err := begin(s, chain[2].ID, ""); !errors.As(err, &merging) {
		t.Errorf("it may be rewritten twice at a time: %v", err)
	}
	var pinned *rules.PinnedError
	if err := changeMerging(s, chain[0].ID, func(b *record.Backup) { b.State = record.Deleting }); !errors.As(err, &pinned) {
		t.Errorf("its new parent may be deleted: %v", err)
	}
	must(t, s.Check(t.Context()))
}

// TestCommitIsAlone: nothing reads a restore point during the commit of its merge, or begins to.
func TestCommitIsAlone(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 4)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	r := mustRestore(t, s, chain[3], start)
	var read *rules.ReadError
	if err := commitMerge(s, chain[2].ID); !errors.As(err, &read) || read.Reader != "restore "+r.ID {
		t.Errorf("while it is restored: %v", err)
	}
	stepRestore(t, s, r, toRestoreEnded...)
	running, _, err := s.Prepare(incremental(vmOf("a", 2), chain[3].ID, start.AddDate(0, 0, 9)))
	must(t, err)
	if err := commitMerge(s, chain[2].ID); !errors.As(err, &read) || read.Reader != "backup "+running.ID {
		t.Errorf("while a backup is based on it: %v", err)
	}
	step(t, s, running, record.Undoing, record.Failed)
	must(t, commitMerge(s, chain[2].ID))
	var merging *rules.MergingError
	if _, err := s.PrepareRestore(restoration(chain[3], start.Add(time.Hour))); !errors.As(err, &merging) {
		t.Errorf("a restore begins: %v", err)
	}
	if _, _, err := s.Prepare(incremental(vmOf("a", 2), chain[3].ID, start.AddDate(0, 0, 10))); !errors.As(err, &merging) {
		t.Errorf("a backup begins: %v", err)
	}
	mustRestore(t, s, chain[1], start.Add(time.Hour)) // which is only in its chain
	must(t, s.Check(t.Context()))
}

// TestCommitChecksNewParent: a merge is not committed when its new parent is no longer in the chain, whatever has happened to those
// between.
func TestCommitChecksNewParent(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 3)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	must(t, begin(s, chain[1].ID, ""))
	must(t, commitMerge(s, chain[1].ID))
	must(t, changeMerging(s, chain[1].ID, func(b *record.Backup) { b.Parent, b.Type, b.Merge = "", record.Full, nil }))
	var parent *rules.ParentError
	if err := commitMerge(s, chain[2].ID); !errors.As(err, &parent) || parent.Parent != chain[0].ID {
		t.Errorf("%v", err)
	}
	must(t, changeMerging(s, chain[2].ID, func(b *record.Backup) { b.Merge = nil }))
	must(t, s.Check(t.Context()))
}

func TestPruned(t *testing.T) {
	s := openNew(t)
	if at, err := s.Pruned(); err != nil || !at.IsZero() {
		t.Errorf("%s, %v", at, err)
	}
	must(t, s.SetPruned(start))
	if at, err := s.Pruned(); err != nil || !at.Equal(start) {
		t.Errorf("%s, %v", at, err)
	}
}

func TestPointGroups(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 2)
	step(t, s, mustPrepare(t, s, vmOf("b", 1), start), toCompleted...)
	groups, err := s.PointGroups()
	if err != nil || len(groups) != 2 || groups[0].VM != "a" || groups[1].VM != "b" {
		t.Fatalf("%+v, %v", groups, err)
	}
	points, err := s.PointsOf(groups[0])
	if err != nil || len(points) != 2 || points[0].ID != chain[1].ID {
		t.Errorf("%+v, %v", points, err)
	}
}
