package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

func TestUpdate(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 1), start)
	before, after, err := s.Update(b.ID, start.Add(time.Minute), func(b *record.Backup) error {
		b.State, b.Targets, b.Runs[0].PID = record.Exporting, "t", 42
		b.Directory = "/elsewhere"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, before); diff != "" {
		t.Errorf("before: %s", diff)
	}
	b.State, b.Targets, b.Directory, b.UpdatedAt = record.Exporting, "t", "/elsewhere", start.Add(time.Minute)
	b.Runs[0].PID = 42
	if diff := cmp.Diff(b, after); diff != "" {
		t.Errorf("after: %s", diff)
	}
	if stored, err := s.Backup(b.ID); err != nil || !cmp.Equal(after, stored) {
		t.Errorf("stored %+v, error %v", stored, err)
	}
	// Nothing changed, nothing written.
	if _, after, err := s.Update(b.ID, start.Add(time.Hour), setState(record.Exporting)); err != nil || !after.UpdatedAt.Equal(b.UpdatedAt) {
		t.Errorf("got %+v, error %v", after, err)
	}
}

func TestUpdateRefused(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 1), start)
	own := errors.New("my own")
	for name, f := range map[string]func(*record.Backup) error{
		"own error":   func(b *record.Backup) error { b.Targets = "x"; return own },
		"id":          func(b *record.Backup) error { b.ID = "x"; return nil },
		"vm":          func(b *record.Backup) error { b.VM.Name = "x"; return nil },
		"type":        func(b *record.Backup) error { b.Type = record.Incremental; return nil },
		"repository":  func(b *record.Backup) error { b.Repository = "x"; return nil },
		"request":     func(b *record.Backup) error { b.RequestID = "x"; return nil },
		"created":     func(b *record.Backup) error { b.CreatedAt = start.Add(1); return nil },
		"runs":        func(b *record.Backup) error { b.Runs = nil; return nil },
		"port":        func(b *record.Backup) error { b.Runs[0].Port++; return nil },
		"unit":        func(b *record.Backup) error { b.Runs[0].Unit += "x"; return nil },
		"state":       setState(record.Completed),
		"no state":    setState(""),
		"no image":    func(b *record.Backup) error { b.Runs[0].Image = ""; return nil },
		"cooldown":    func(b *record.Backup) error { b.CooldownUntil = start.AddDate(1000, 0, 0); return nil },
		"json's year": func(b *record.Backup) error { b.EndedAt = start.AddDate(10000, 0, 0); return nil },
	} {
		_, _, err := s.Update(b.ID, start, f)
		if err == nil || (name == "own error" && err != own) {
			t.Errorf("%s: %v", name, err)
		}
		var illegal *record.IllegalTransitionError
		if name == "state" && !errors.As(err, &illegal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if stored, err := s.Backup(b.ID); err != nil || !cmp.Equal(b, stored) {
		t.Errorf("stored %+v, error %v", stored, err)
	}
	var missing *schema.NotFoundError
	if _, _, err := s.Update("x", start, setState(record.Exporting)); !errors.As(err, &missing) || missing.Kind != schema.KindBackup {
		t.Errorf("got %v", err)
	}
}

// Every pair of states: what the table of package backup allows can be stored, and nothing else.
func TestEveryTransition(t *testing.T) {
	s := openNew(t)
	// The queue is a way in of its own: see TestQueue.
	routes := map[record.State][]record.State{record.Preparing: {}}
	for queue := []record.State{record.Preparing}; len(queue) > 0; queue = queue[1:] {
		for _, to := range record.States {
			if _, known := routes[to]; !known && record.CheckTransition(queue[0], to) == nil {
				routes[to] = append(append([]record.State{}, routes[queue[0]]...), to)
				queue = append(queue, to)
			}
		}
	}
	now := start
	for _, from := range record.States {
		for _, to := range record.States {
			if from == to || from == record.Queued {
				continue
			}
			now = now.Add(time.Minute)
			b := step(t, s, mustPrepare(t, s, vmOf("a", 1), now), routes[from]...)
			_, after, err := s.Update(b.ID, now, setState(to))
			if (err == nil) != (record.CheckTransition(from, to) == nil) {
				t.Errorf("%s to %s: %v", from, to, err)
			}
			if after.State.Terminal() != !after.EndedAt.IsZero() {
				t.Errorf("%s: ended at %s", after.State, after.EndedAt)
			}
			if b, err = s.Backup(b.ID); err != nil {
				t.Fatal(err)
			}
			end(t, s, b)
		}
	}
}

// end brings a backup to its end from any state.
func end(t testing.TB, s *Store, b record.Backup) {
	t.Helper()
	switch {
	case b.State.Terminal():
	case b.State == record.Undoing:
		step(t, s, b, record.Failed)
	default:
		fail(t, s, b)
	}
}

func TestEndReleases(t *testing.T) {
	s := openNew(t)
	for _, b := range []record.Backup{
		step(t, s, mustPrepare(t, s, vmOf("a", 2), start), toCompleted...),
		fail(t, s, mustPrepare(t, s, vmOf("a", 2), start.Add(time.Minute))),
	} {
		if b.EndedAt.IsZero() || !b.EndedAt.Equal(b.UpdatedAt) {
			t.Errorf("ended at %s", b.EndedAt)
		}
		if n, err := s.Counts(start); err != nil || n != (query.Counts{}) {
			t.Errorf("counts %+v, error %v", n, err)
		}
	}
	if active, err := s.Active(); err != nil || len(active) > 0 {
		t.Errorf("active %+v, error %v", active, err)
	}
}

func TestLatestCompleted(t *testing.T) {
	s := openNew(t)
	if _, found, err := s.LatestCompleted("a", "local"); found || err != nil {
		t.Errorf("found %v, error %v", found, err)
	}
	first := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	second := step(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(time.Hour)), toCompleted...)
	fail(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(2*time.Hour)))
	mustPrepare(t, s, vmOf("a", 1), start.Add(3*time.Hour))
	other := preparation(vmOf("b", 1), start.Add(4*time.Hour))
	other.Backup.Repository = "other"
	b, _, err := s.Prepare(other)
	if err != nil {
		t.Fatal(err)
	}
	step(t, s, b, toCompleted...)
	if b, found, err := s.LatestCompleted("a", "local"); err != nil || !found || b.ID != second.ID {
		t.Errorf("got %s, found %v, error %v", b.ID, found, err)
	}
	drop(t, s, second.ID)
	if b, found, err := s.LatestCompleted("a", "local"); err != nil || !found || b.ID != first.ID {
		t.Errorf("got %s, found %v, error %v", b.ID, found, err)
	}
	for _, q := range [][2]string{{"a", "other"}, {"b", "local"}, {"", ""}, {"c", "local"}} {
		if b, found, err := s.LatestCompleted(q[0], q[1]); found || err != nil {
			t.Errorf("%q: %s, error %v", q, b.ID, err)
		}
	}
}
