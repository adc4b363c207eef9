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

func mustEnqueue(t *testing.T, s *Store, vm record.VM, now time.Time) record.Backup {
	t.Helper()
	p := preparation(vm, now)
	p.Ports, p.Complete = nil, nil
	b, existing, err := s.Enqueue(p)
	if err != nil || existing {
		t.Fatalf("existing %v, error %v", existing, err)
	}
	return b
}

func TestQueue(t *testing.T) {
	s := openNew(t)
	first := mustEnqueue(t, s, vmOf("b", 2), start)
	second := mustEnqueue(t, s, vmOf("a", 1), start.Add(time.Minute))
	if n, err := s.Counts(start); err != nil || n != (query.Counts{Active: 2}) || len(first.Runs) > 0 || first.State != record.Queued {
		t.Errorf("%+v, counts %+v, error %v", first, n, err)
	}
	var active *rules.ActiveError
	if _, _, err := s.Prepare(preparation(vmOf("a", 1), start)); !errors.As(err, &active) || active.BackupID != second.ID {
		t.Errorf("got %v", err)
	}
	if first.Sequence >= second.Sequence { // the order of the queue
		t.Errorf("the sequences are %d and %d", first.Sequence, second.Sequence)
	}
	p, now := preparation(vmOf("b", 2), start), start.Add(time.Hour)
	b, err := dequeue(s, first.ID, now, p.Ports, p.Complete)
	if err != nil || b.State != record.Preparing || len(b.Runs) != 2 || !b.UpdatedAt.Equal(now) || !b.CreatedAt.Equal(start) {
		t.Errorf("got %+v, error %v", b, err)
	}
	if stored, err := s.Backup(b.ID); err != nil || !cmp.Equal(b, stored) {
		t.Errorf("stored %+v, error %v", stored, err)
	}
	if leases, err := s.Leases(); err != nil || len(leases) != 2 || !leases[0].LeasedAt.Equal(now) {
		t.Errorf("leases %+v, error %v", leases, err)
	}
	step(t, s, b, toCompleted...)
	fail(t, s, second)
	if n, err := s.Counts(start); err != nil || n != (query.Counts{}) {
		t.Errorf("counts %+v, error %v", n, err)
	}
}

func TestDequeueRefused(t *testing.T) {
	s := openNew(t)
	b := mustEnqueue(t, s, vmOf("a", 2), start)
	p := preparation(vmOf("a", 2), start)
	if _, err := dequeue(s, b.ID, start, portsOf(1, 1), p.Complete); !errors.Is(err, errNoPort) {
		t.Errorf("no port: %v", err)
	}
	if _, err := dequeue(s, b.ID, start, p.Ports, func(*record.Backup, []record.Lease) {}); err == nil {
		t.Error("no names: accepted")
	}
	var state *rules.StateError
	if _, _, err := s.Update(b.ID, start, setState(record.Preparing)); !errors.As(err, &state) {
		t.Errorf("past the leases: %v", err)
	}
	var missing *schema.NotFoundError
	if _, err := dequeue(s, "x", start, p.Ports, p.Complete); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
	if after, err := s.Backup(b.ID); err != nil || !cmp.Equal(b, after) {
		t.Errorf("got %+v, error %v", after, err)
	}
	if _, err := dequeue(s, b.ID, start, p.Ports, p.Complete); err != nil {
		t.Fatal(err)
	}
	if _, err := dequeue(s, b.ID, start, p.Ports, p.Complete); !errors.As(err, &state) || state.State != record.Preparing {
		t.Errorf("twice: %v", err)
	}
}

// TestDequeueOfAnotherVM: the record of a queued VM may have been pointed at a VM that has an active backup under another name.
func TestDequeueOfAnotherVM(t *testing.T) {
	s := openNew(t)
	busy := vmOf("a", 1)
	busy.InventoryPath = "/DC1/vm/one"
	first := mustPrepare(t, s, busy, start)
	b := mustEnqueue(t, s, vmOf("b", 1), start)
	_, _, err := s.Update(b.ID, start, func(b *record.Backup) error {
		b.VM.InventoryPath, b.VM.VCenter = "/DC1/vm/one/", busy.VCenter
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var active *rules.ActiveError
	p := preparation(vmOf("b", 1), start)
	if _, err := dequeue(s, b.ID, start, p.Ports, p.Complete); !errors.As(err, &active) || active.BackupID != first.ID {
		t.Errorf("got %v", err)
	}
	step(t, s, first, toCompleted...)
	if _, err := dequeue(s, b.ID, start, p.Ports, p.Complete); err != nil {
		t.Error(err)
	}
}

func TestEnqueueRepeated(t *testing.T) {
	s := openNew(t)
	p := preparation(vmOf("a", 1), start)
	p.Backup.RequestID = "r"
	b, _, err := s.Enqueue(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, add := range []func(Preparation) (record.Backup, bool, error){s.Enqueue, s.Prepare} {
		if again, existing, err := add(p); err != nil || !existing || again.ID != b.ID {
			t.Errorf("got %s, existing %v, error %v", again.ID, existing, err)
		}
	}
	if again, found, err := s.Requested("r"); err != nil || !found || again.ID != b.ID {
		t.Errorf("got %s, found %v, error %v", again.ID, found, err)
	}
	for _, id := range []string{"", "x"} {
		if _, found, err := s.Requested(id); found || err != nil {
			t.Errorf("%q: found %v, error %v", id, found, err)
		}
	}
}
