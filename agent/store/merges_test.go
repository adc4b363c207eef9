package store

import (
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/rules"
)

// rewrite changes the rewrite of a record, with what hangs on it.
func rewrite(s *Store, id string, f func(b *record.Backup)) error {
	_, _, err := s.Update(id, start.AddDate(0, 1, 0), func(b *record.Backup) error {
		f(b)
		return nil
	})
	return err
}

func begin(s *Store, id, onto string) error {
	return rewrite(s, id, func(b *record.Backup) { b.Merge = &record.Merge{NewParent: onto, StartedAt: start} })
}

func swap(s *Store, id string) error {
	return rewrite(s, id, func(b *record.Backup) { b.Merge.Committing = true })
}

// TestRewrite: a restore point goes over to other ground in three transactions, and the lists follow.
func TestRewrite(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 4)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	must(t, swap(s, chain[2].ID))
	must(t, rewrite(s, chain[2].ID, func(b *record.Backup) { b.Parent, b.Merge = chain[0].ID, nil }))
	step(t, s, chain[1], record.Deleting) // nothing stands on it any more
	must(t, s.RemoveBackup(chain[1].ID, start))
	must(t, begin(s, chain[2].ID, ""))
	list, err := s.Merges()
	if err != nil || len(list) != 1 || list[0].ID != chain[2].ID {
		t.Errorf("%+v, %v", list, err)
	}
	must(t, swap(s, chain[2].ID))
	must(t, rewrite(s, chain[2].ID, func(b *record.Backup) { b.Parent, b.Type, b.Merge = "", record.Full, nil }))
	if children, err := s.Children(chain[0].ID); err != nil || len(children) != 0 {
		t.Errorf("%+v, %v", children, err)
	}
	must(t, s.Check(t.Context()))
}

// TestRewriteIsRefused: what a rewrite must not be, and what must not be during one.
func TestRewriteIsRefused(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 3)
	var parent *rules.ParentError
	for name, onto := range map[string]string{"its parent": chain[1].ID, "itself": chain[2].ID, "nobody": "backup-a-1"} {
		if err := begin(s, chain[2].ID, onto); !errors.As(err, &parent) {
			t.Errorf("onto %s: %v", name, err)
		}
	}
	var immutable *rules.ImmutableError
	if err := rewrite(s, chain[2].ID, func(b *record.Backup) { b.Parent, b.Type = "", record.Full }); !errors.As(err, &immutable) {
		t.Errorf("an incremental became a full backup all by itself: %v", err)
	}
	must(t, begin(s, chain[2].ID, chain[0].ID))
	var rewriting *rules.MergingError
	if err := rewrite(s, chain[2].ID, func(b *record.Backup) { b.State = record.Deleting }); !errors.As(err, &rewriting) {
		t.Errorf("it may be deleted: %v", err)
	}
	if err := begin(s, chain[2].ID, ""); !errors.As(err, &rewriting) {
		t.Errorf("it may be rewritten twice at a time: %v", err)
	}
	var pinned *rules.PinnedError
	if err := rewrite(s, chain[0].ID, func(b *record.Backup) { b.State = record.Deleting }); !errors.As(err, &pinned) {
		t.Errorf("its ground may be deleted: %v", err)
	}
	must(t, s.Check(t.Context()))
}

// TestSwapIsAlone: nobody reads what is exchanged, and nobody begins to.
func TestSwapIsAlone(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 4)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	r := mustRestore(t, s, chain[3], start)
	var read *rules.ReadError
	if err := swap(s, chain[2].ID); !errors.As(err, &read) || read.Reader != "restore "+r.ID {
		t.Errorf("while it is restored: %v", err)
	}
	stepRestore(t, s, r, toRestoreEnded...)
	running, _, err := s.Prepare(incremental(vmOf("a", 2), chain[3].ID, start.AddDate(0, 0, 9)))
	must(t, err)
	if err := swap(s, chain[2].ID); !errors.As(err, &read) || read.Reader != "backup "+running.ID {
		t.Errorf("while a backup stands on it: %v", err)
	}
	step(t, s, running, record.Undoing, record.Failed)
	must(t, swap(s, chain[2].ID))
	var rewriting *rules.MergingError
	if _, err := s.PrepareRestore(restoration(chain[3], start.Add(time.Hour))); !errors.As(err, &rewriting) {
		t.Errorf("a restore begins: %v", err)
	}
	if _, _, err := s.Prepare(incremental(vmOf("a", 2), chain[3].ID, start.AddDate(0, 0, 10))); !errors.As(err, &rewriting) {
		t.Errorf("a backup begins: %v", err)
	}
	mustRestore(t, s, chain[1], start.Add(time.Hour)) // which it only stood on
	must(t, s.Check(t.Context()))
}

// TestSwapProvesGround: images that stand on a restore point are not put in force when that is none of the chain any more, whatever
// has become of those between.
func TestSwapProvesGround(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 3)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	must(t, begin(s, chain[1].ID, ""))
	must(t, swap(s, chain[1].ID))
	must(t, rewrite(s, chain[1].ID, func(b *record.Backup) { b.Parent, b.Type, b.Merge = "", record.Full, nil }))
	var parent *rules.ParentError
	if err := swap(s, chain[2].ID); !errors.As(err, &parent) || parent.Parent != chain[0].ID {
		t.Errorf("%v", err)
	}
	must(t, rewrite(s, chain[2].ID, func(b *record.Backup) { b.Merge = nil }))
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
