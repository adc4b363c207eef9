package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/rules"
)

func incremental(vm record.VM, parent string, now time.Time) Preparation {
	p := preparation(vm, now)
	p.Backup.Type, p.Backup.Parent = record.Incremental, parent
	return p
}

func TestParentIsPinned(t *testing.T) {
	s := openNew(t)
	full := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	child, _, err := s.Prepare(incremental(vmOf("a", 1), full.ID, start.Add(time.Hour)))
	if err != nil || child.Parent != full.ID {
		t.Fatalf("parent %q, error %v", child.Parent, err)
	}
	pinned := func() {
		t.Helper()
		var e *rules.PinnedError
		if _, _, err := s.Update(full.ID, start, setState(record.Deleting)); !errors.As(err, &e) || e.Child != child.ID {
			t.Errorf("got %v", err)
		}
		if children, err := s.Children(full.ID); err != nil || !cmp.Equal(ids(children), []string{child.ID}) {
			t.Errorf("children %v, error %v", ids(children), err)
		}
	}
	pinned()
	step(t, s, child, toCompleted...)
	pinned()
	failed, _, err := s.Prepare(incremental(vmOf("a", 1), child.ID, start.Add(2*time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	fail(t, s, failed)
	step(t, s, child, record.Deleting)
	pinned() // until its images are gone
	for _, id := range []string{child.ID, full.ID} {
		if removed, err := s.Removed(id); removed || err != nil {
			t.Errorf("%s: removed %v, error %v", id, removed, err)
		}
		if id == full.ID {
			step(t, s, full, record.Deleting)
		}
		if err := s.RemoveBackup(id, start); err != nil {
			t.Error(err)
		}
		if removed, err := s.Removed(id); !removed || err != nil {
			t.Errorf("%s: removed %v, error %v", id, removed, err)
		}
	}
}

func TestParentRefused(t *testing.T) {
	s := openNew(t)
	full := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	failed := fail(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(time.Hour)))
	elsewhere := incremental(vmOf("a", 1), full.ID, start)
	elsewhere.Backup.Repository = "other"
	whole := incremental(vmOf("a", 1), full.ID, start)
	whole.Backup.Type = record.Full
	for why, p := range map[string]Preparation{
		"is not on record":            incremental(vmOf("a", 1), "x", start),
		`is a backup of vm "a"`:       incremental(vmOf("b", 1), full.ID, start),
		`is in repository "local"`:    elsewhere,
		"is failed":                   incremental(vmOf("a", 1), failed.ID, start),
		"a full backup has no parent": whole,
	} {
		var e *rules.ParentError
		if _, _, err := s.Prepare(p); !errors.As(err, &e) || e.Why != why {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// The parent of an active backup stays; that of an ended one may change, as when links of a chain are merged.
func TestParentChanged(t *testing.T) {
	s := openNew(t)
	full := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	child, _, err := s.Prepare(incremental(vmOf("a", 1), full.ID, start.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	orphan := func(b *record.Backup) error {
		b.Parent = ""
		return nil
	}
	var immutable *rules.ImmutableError
	if _, _, err := s.Update(child.ID, start, orphan); !errors.As(err, &immutable) {
		t.Errorf("got %v", err)
	}
	child = step(t, s, child, toCompleted...)
	if _, _, err := s.Update(child.ID, child.UpdatedAt, orphan); err != nil {
		t.Error(err)
	}
	drop(t, s, full.ID)
}
