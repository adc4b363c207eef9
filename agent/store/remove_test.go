package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

func TestRemoveBackup(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 1), start)
	refused := func() {
		t.Helper()
		var state *rules.StateError
		if err := s.RemoveBackup(b.ID, start); !errors.As(err, &state) || state.BackupID != b.ID {
			t.Errorf("got %v", err)
		}
	}
	refused()
	b = step(t, s, b, toCompleted...)
	refused()
	if ended := b.EndedAt; !step(t, s, b, record.Deleting).EndedAt.Equal(ended) {
		t.Error("it ended when it ended")
	}
	if _, found, err := s.LatestCompleted("a", "local"); found || err != nil {
		t.Errorf("still a restore point: %v, error %v", found, err)
	}
	if err := s.RemoveBackup(b.ID, start); err != nil {
		t.Fatal(err)
	}
	var missing *schema.NotFoundError
	if _, err := s.Backup(b.ID); !errors.As(err, &missing) {
		t.Errorf("still there: %v", err)
	}
	if err := s.RemoveBackup(b.ID, start); !errors.As(err, &missing) {
		t.Errorf("twice: %v", err)
	}
	if got := all(t, s, query.Query{}); len(got) > 0 {
		t.Errorf("still listed: %v", got)
	}
}

func TestImport(t *testing.T) {
	from, to := openNew(t), openNew(t)
	p := preparation(vmOf("a", 2), start)
	p.Backup.RequestID = "r"
	b, _, err := from.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	var state *rules.StateError
	if _, err := to.Import(b); !errors.As(err, &state) {
		t.Errorf("an active one: %v", err)
	}
	b = step(t, from, b, toCompleted...)
	for _, want := range []bool{true, false} {
		if added, err := to.Import(b); err != nil || added != want {
			t.Errorf("added %v, error %v", added, err)
		}
	}
	got, found, err := to.LatestCompleted("a", "local")
	b.RequestID = ""
	if err != nil || !found || !cmp.Equal(b, got) {
		t.Errorf("got %+v, error %v", got, err)
	}
	// Its id is taken.
	if b2 := mustPrepare(t, to, vmOf("a", 1), start); b2.ID == b.ID {
		t.Errorf("%s: twice", b.ID)
	}
	drop(t, to, b.ID)
	if added, err := to.Import(b); err != nil || added {
		t.Errorf("after removal: added %v, error %v", added, err)
	}
	for _, bad := range []record.Backup{
		{},
		{ID: "x", State: record.Completed, CreatedAt: start},
		{ID: "x", VM: vmOf("a", 1), State: record.Completed},
		{ID: "x", VM: vmOf("a", 1), State: "x", CreatedAt: time.Now()},
		{ID: "x", VM: vmOf("a", 1), State: record.Deleting, CreatedAt: time.Now()},
	} {
		if added, err := to.Import(bad); err == nil || added {
			t.Errorf("%+v: added %v, error %v", bad, added, err)
		}
	}
}

// drop deletes an ended backup from the record.
func drop(t testing.TB, s *Store, id string) {
	t.Helper()
	if _, _, err := s.Update(id, start, setState(record.Deleting)); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveBackup(id, start); err != nil {
		t.Fatal(err)
	}
}
