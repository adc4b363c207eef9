package store

import (
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// TestCorrect: a record follows its manifest, to another parent or none, and the lists follow the record.
func TestCorrect(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 4)
	later := start.AddDate(0, 1, 0)
	must(t, correct(s, chain[2].ID, later, func(b *record.Backup) { b.Parent = chain[0].ID }))
	must(t, s.Check(t.Context()))
	if children, err := s.Children(chain[1].ID); err != nil || len(children) != 0 {
		t.Errorf("its old parent has the children %+v, %v", children, err)
	}
	if children, err := s.Children(chain[0].ID); err != nil || len(children) != 2 {
		t.Errorf("its new parent has the children %+v, %v", children, err)
	}
	must(t, correct(s, chain[2].ID, later, func(b *record.Backup) { b.Parent, b.Type = "", record.Full }))
	must(t, s.Check(t.Context()))
	b, err := s.Backup(chain[2].ID)
	if err != nil || b.Type != record.Full || b.Parent != "" || !b.UpdatedAt.Equal(later) {
		t.Errorf("%+v, %v", b, err)
	}
	must(t, correct(s, chain[2].ID, later.Add(time.Hour), func(*record.Backup) {}))
	if b, err = s.Backup(chain[2].ID); err != nil || !b.UpdatedAt.Equal(later) {
		t.Errorf("a correction of nothing has changed %+v, %v", b, err)
	}
}

// TestCorrectRefused: what is read, being merged, or no restore point is not corrected, and other fields never are.
func TestCorrectRefused(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 4)
	onto := func(b *record.Backup) { b.Parent = chain[0].ID }
	refused := func(id string, f func(*record.Backup), target any) {
		t.Helper()
		before, err := s.Backup(id)
		must(t, err)
		if err := correct(s, id, start, f); !errors.As(err, target) {
			t.Errorf("%v, want a %T", err, target)
		}
		if after, err := s.Backup(id); err != nil || after.Parent != before.Parent || after.State != before.State {
			t.Errorf("changed all the same: %+v, %v", after, err)
		}
	}
	r := mustRestore(t, s, chain[3], start)
	refused(chain[2].ID, onto, new(*rules.ReadError))
	stepRestore(t, s, r, toRestoreEnded...)
	running, _, err := s.Prepare(incremental(vmOf("a", 2), chain[3].ID, start.AddDate(0, 0, 9)))
	must(t, err)
	refused(chain[2].ID, onto, new(*rules.ReadError))
	refused(running.ID, onto, new(*rules.StateError))
	step(t, s, running, record.Undoing, record.Failed)
	must(t, begin(s, chain[2].ID, chain[0].ID))
	refused(chain[2].ID, onto, new(*rules.MergingError))
	refused(chain[3].ID, func(b *record.Backup) { b.State = record.Deleting }, new(*rules.ImmutableError))
	refused(chain[3].ID, func(b *record.Backup) { b.Repository = "other" }, new(*rules.ImmutableError))
	if err := correct(s, "nobody", start, onto); !errors.As(err, new(*schema.NotFoundError)) {
		t.Errorf("of nothing: %v", err)
	}
	must(t, s.Check(t.Context()))
}
