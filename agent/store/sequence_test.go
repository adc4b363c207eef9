package store

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// idsOf lists the ids of backups.
func idsOf(list []record.Backup) string {
	var text []string
	for _, b := range list {
		text = append(text, b.ID)
	}
	return strings.Join(text, " ")
}

// TestOrderIsNoClocks: the restore points of a VM are ordered as they were made, whatever the clock said, and the one made last is
// what the next is based on.
func TestOrderIsNoClocks(t *testing.T) {
	s := openNew(t)
	var want []string
	for _, years := range []int{0, 5, 0, -20, 1} {
		b := step(t, s, mustPrepare(t, s, vmOf("a", 1), start.AddDate(years, 0, len(want))), toCompleted...)
		want = append([]string{b.ID}, want...)
		if latest, found, err := s.LatestCompleted("a", "local"); err != nil || !found || latest.ID != b.ID {
			t.Fatalf("the latest is %s, found %v, error %v; want %s", latest.ID, found, err, b.ID)
		}
	}
	points, err := s.PointsOf(PointGroup{Repository: "local", VM: "a"})
	if err != nil || idsOf(points) != strings.Join(want, " ") {
		t.Errorf("%s, want %v, error %v", idsOf(points), want, err)
	}
	now := start.AddDate(0, 1, 0)
	if b, found, err := s.LatestGood("a", "local", now); err != nil || !found || b.ID != want[1] {
		t.Errorf("of those not in the future the latest is %s, found %v, error %v", b.ID, found, err)
	}
	if _, found, err := s.LatestGood("a", "local", start.AddDate(-30, 0, 0)); err != nil || found {
		t.Errorf("before all of them: found %v, error %v", found, err)
	}
	for limit, shown := range map[int]string{0: "", 1: want[3], 10: want[3] + " " + want[0]} {
		if future, total, err := s.FuturePoints(now, limit); err != nil || total != 2 || idsOf(future) != shown {
			t.Errorf("in the future: %s, %d, error %v", idsOf(future), total, err)
		}
	}
}

// TestClockWentBack: an id whose second was used before is not used again, and the order is that of the backups.
func TestClockWentBack(t *testing.T) {
	s := openNew(t)
	first := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	gone := step(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(time.Second)), toCompleted...)
	drop(t, s, gone.ID)
	second := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	if want := fmt.Sprintf("backup-a-%d", start.Unix()+2); second.ID != want || second.Sequence <= gone.Sequence || gone.Sequence <= first.Sequence {
		t.Errorf("%s with %d, after %d and %d; want %s", second.ID, second.Sequence, first.Sequence, gone.Sequence, want)
	}
}

// TestImportKeepsOrder: what a rebuild puts on record keeps its sequence, whatever the order in which it is found, and what is made
// later comes later, also where two databases gave the same numbers.
func TestImportKeepsOrder(t *testing.T) {
	other, s := openNew(t), openNew(t)
	var theirs []record.Backup
	for i := range 3 {
		theirs = append(theirs, step(t, other, mustPrepare(t, other, vmOf("a", 1), start.AddDate(5-i, 0, 0)), toCompleted...))
	}
	own := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	if own.Sequence != theirs[0].Sequence {
		t.Fatalf("%d and %d: two databases that begin alike", own.Sequence, theirs[0].Sequence)
	}
	old := theirs[0]
	old.ID, old.Sequence = "backup-a-5", 0 // as of an agent that gave none
	for _, b := range []record.Backup{theirs[2], old, theirs[0], theirs[1]} {
		if added, err := s.Import(b); err != nil || !added {
			t.Fatal(added, err)
		}
	}
	next := step(t, s, mustPrepare(t, s, vmOf("a", 1), start.AddDate(-1, 0, 0)), toCompleted...)
	points, err := s.PointsOf(PointGroup{Repository: "local", VM: "a"})
	want := []record.Backup{next, theirs[2], theirs[1], theirs[0], own, old} // of equal ones the greater id is the newer
	if err != nil || idsOf(points) != idsOf(want) {
		t.Errorf("%s, want %s, error %v", idsOf(points), idsOf(want), err)
	}
	child := theirs[0]
	child.ID, child.Parent, child.Type, child.Sequence = "backup-a-7", next.ID, record.Incremental, 3
	if _, err := s.Import(child); err != nil {
		t.Fatal(err)
	}
	if latest, _, err := s.LatestCompleted("a", "local"); err != nil || latest.ID != child.ID || latest.Sequence != next.Sequence+1 {
		t.Errorf("the latest is %s with %d, error %v: what is based on %s was made after it", latest.ID, latest.Sequence, err, next.ID)
	}
	if after := mustPrepare(t, s, vmOf("a", 1), start); after.Sequence <= next.Sequence+1 {
		t.Errorf("the next one has %d", after.Sequence)
	}
	bad := theirs[0]
	bad.ID, bad.Sequence = "backup-a-9", record.MaxSequence+1
	if added, err := s.Import(bad); err == nil || added {
		t.Errorf("a sequence beyond all: added %v, error %v", added, err)
	}
}

// TestSequenceIsImmutable: nothing changes the order once it was given.
func TestSequenceIsImmutable(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 1), start)
	if _, _, err := s.Update(b.ID, start, func(b *record.Backup) error { b.Sequence++; return nil }); err == nil {
		t.Error("it was changed")
	}
}

// TestCheckFindsSequence: a database that would give a sequence twice is damaged.
func TestCheckFindsSequence(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "agent.db"), Options{})
	must(t, err)
	defer s.Close()
	b := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	must(t, s.file.Update(func(t *dbfile.Tx) error { return t.Bucket(schema.BucketBackups).SetSequence(b.Sequence - 1) }))
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "sequence") {
		t.Errorf("got %v", err)
	}
	if next := mustPrepare(t, s, vmOf("a", 1), start); next.Sequence <= b.Sequence { // and yet the order stays
		t.Errorf("the next one has %d after %d", next.Sequence, b.Sequence)
	}
}

// asVersion4 makes a file what an agent of schema version 4 would have left of it.
func asVersion4(t *testing.T, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	defer db.Close()
	must(t, db.Update(func(tx *bolt.Tx) error {
		backups, lists := tx.Bucket(schema.BucketBackups), tx.Bucket(schema.BucketLists)
		records := map[string][]byte{}
		must(t, backups.ForEach(func(k, v []byte) error {
			var fields map[string]any
			must(t, json.Unmarshal(v, &fields))
			delete(fields, "sequence")
			text, err := json.Marshal(fields)
			records[string(k)] = text
			return err
		}))
		for id, text := range records {
			must(t, backups.Put([]byte(id), text))
		}
		var orders []string
		must(t, lists.ForEachBucket(func(k []byte) error {
			if strings.HasPrefix(string(k), schema.OrderPrefix) {
				orders = append(orders, string(k))
			}
			return nil
		}))
		for _, name := range orders {
			must(t, lists.DeleteBucket([]byte(name)))
		}
		for _, later := range [][]byte{
			schema.BucketPruneHeld, schema.BucketPaused, schema.BucketImporting, schema.BucketSchedules, schema.BucketRuns, schema.BucketRunVMs,
		} {
			must(t, tx.DeleteBucket(later))
		}
		must(t, backups.SetSequence(0))
		return tx.Bucket(schema.BucketMeta).Put(schema.KeySchema, []byte("4"))
	}))
}

// TestMigrateSequences: in a file of version 4 parents and dates tell the order, active backups come last, and all else stays
// as it was.
func TestMigrateSequences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	s, err := Open(path, Options{})
	must(t, err)
	complete := func(parent string, at time.Time) record.Backup {
		p := preparation(vmOf("a", 1), at)
		if parent != "" {
			p = incremental(vmOf("a", 1), parent, at)
		}
		b, _, err := s.Prepare(p)
		must(t, err)
		return step(t, s, b, toCompleted...)
	}
	full := complete("", start)
	ahead := complete(full.ID, time.Now().AddDate(5, 0, 0)) // its clock was five years ahead
	first, second := complete(ahead.ID, start.AddDate(0, 0, 2)), complete(ahead.ID, start.AddDate(0, 0, 3))
	verify(t, s, ahead.ID, record.Verification{At: start.AddDate(0, 1, 0)})
	active, _, err := s.Prepare(incremental(vmOf("a", 1), second.ID, start.AddDate(0, 0, -9)))
	must(t, err)
	before := map[string]record.Backup{}
	for _, b := range all(t, s, query.Query{}) {
		before[b], err = s.Backup(b)
		must(t, err)
	}
	must(t, s.Close())
	asVersion4(t, path)

	s = openPath(t, path) // and checked at the end
	points, err := s.PointsOf(PointGroup{Repository: "local", VM: "a"})
	if want := []record.Backup{second, first, ahead, full}; err != nil || idsOf(points) != idsOf(want) {
		t.Errorf("%s, want %s, error %v", idsOf(points), idsOf(want), err)
	}
	for id, b := range before {
		after, err := s.Backup(id)
		must(t, err)
		if legacy := after.Sequence < record.FirstSequence; after.Sequence == 0 || legacy != (id != active.ID) {
			t.Errorf("%s has the sequence %d", id, after.Sequence)
		}
		b.Sequence, after.Sequence = 0, 0
		if diff := cmp.Diff(b, after); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	if b, found, err := s.LongestUnverified(Unverified{Now: time.Now().AddDate(10, 0, 0)}); err != nil || !found || b.ID != full.ID {
		t.Errorf("verified longest ago is %s, found %v, error %v", b.ID, found, err)
	}
	done := step(t, s, active, toCompleted...)
	if latest, _, err := s.LatestCompleted("a", "local"); err != nil || latest.ID != done.ID {
		t.Errorf("the latest is %s, error %v", latest.ID, err)
	}
}

// TestFutureIsNotVerified: a date in the future is none, so that its restore point is verified first; once it has been, it is not
// due again.
func TestFutureIsNotVerified(t *testing.T) {
	s := openNew(t)
	now := start.AddDate(0, 1, 0)
	right := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	ahead := step(t, s, mustPrepare(t, s, vmOf("b", 1), start.AddDate(5, 0, 0)), toCompleted...)
	for _, deep := range []bool{false, true} {
		if b, found, err := s.LongestUnverified(Unverified{Deep: deep, Now: now}); err != nil || !found || b.ID != ahead.ID {
			t.Errorf("deep %v: %s, found %v, error %v", deep, b.ID, found, err)
		}
		pass := func(id string) bool { return id == ahead.ID }
		if b, found, err := s.LongestUnverified(Unverified{Deep: deep, Now: now, Pass: pass}); err != nil || !found || b.ID != right.ID {
			t.Errorf("deep %v: %s, found %v, error %v", deep, b.ID, found, err)
		}
	}
	verify(t, s, ahead.ID, record.Verification{At: now, DeepAt: now})
	for _, deep := range []bool{false, true} {
		if b, found, err := s.LongestUnverified(Unverified{Deep: deep, Now: now}); err != nil || !found || b.ID != right.ID {
			t.Errorf("deep %v: %s, found %v, error %v", deep, b.ID, found, err)
		}
	}
}

// TestHolds: a prune that is held is on record until it is released, and from when it was first held.
func TestHolds(t *testing.T) {
	s := openNew(t)
	step(t, s, mustPrepare(t, s, vmOf("a", 1), start), toCompleted...)
	g := PointGroup{Repository: "local", VM: "a"}
	must(t, s.HoldPrune(schema.Hold{PointGroup: g, Removed: 4, Points: 6, Since: start}))
	must(t, s.HoldPrune(schema.Hold{PointGroup: g, Removed: 5, Points: 7, Since: start.Add(time.Hour)}))
	must(t, s.HoldPrune(schema.Hold{PointGroup: PointGroup{Repository: "local", VM: "gone"}, Removed: 5, Points: 7, Since: start}))
	want := []schema.Hold{{PointGroup: g, Removed: 5, Points: 7, Since: start}}
	if got, err := s.HeldPrunes(); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, error %v", got, err)
	}
	must(t, s.ReleasePrune(g))
	must(t, s.ReleasePrune(g))
	if got, err := s.HeldPrunes(); err != nil || len(got) != 0 {
		t.Errorf("%+v, error %v", got, err)
	}
}
