package store

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// The newest good restore point of any repository counts, and the backup that failed last.
func TestLatestOf(t *testing.T) {
	s := openNew(t)
	at := func(vm string, hours int, states ...record.State) record.Backup {
		b := mustPrepare(t, s, vmOf(vm, 1), start.Add(time.Duration(hours)*time.Hour))
		if len(states) > 0 {
			return step(t, s, b, states...)
		}
		return fail(t, s, b)
	}
	good := at("a", 1, toCompleted...)
	newest := at("a", 2, toCompleted...)
	at("a", 3)
	failed := at("a", 4)
	future := at("b", 1000, toCompleted...)
	now := start.Add(10 * time.Hour)
	check := func(what, vm, good, failed string) {
		t.Helper()
		list, err := s.LatestOf([]string{vm}, []string{"local", "other"}, now)
		if err != nil || len(list) != 1 || list[0].Good.ID != good || list[0].Failed.ID != failed {
			t.Errorf("%s: %+v, %v; want %q and %q", what, list, err, good, failed)
		}
	}
	check("two points, two failures", "a", newest.ID, failed.ID)
	check("only one dated in the future", "b", "", "")
	check("no such VM", "c", "", "")
	if _, _, err := s.Update(newest.ID, now, func(b *record.Backup) error {
		b.Verified = &record.Verification{At: now, Damage: []record.FileDamage{{File: "disk0", Problem: "is missing"}}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	check("the newest is damaged", "a", good.ID, failed.ID)
	now = start.Add(2000 * time.Hour)
	check("its date has passed", "b", future.ID, "")
}
