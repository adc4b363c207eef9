package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// onChain puts a restore point of a VM on record that is based on another one.
func onChain(t testing.TB, s *Store, vm, parent string, at time.Time) string {
	t.Helper()
	p := preparation(vmOf(vm, 1), at)
	if parent != "" {
		p.Backup.Type, p.Backup.Parent = record.Incremental, parent
	}
	b, _, err := s.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	return step(t, s, b, toCompleted...).ID
}

// spoil puts damage on record, or takes it off.
func spoil(t testing.TB, s *Store, id string, damaged bool) {
	t.Helper()
	v := &record.Verification{At: start.AddDate(1, 0, 0)}
	if damaged {
		v.Damage = []record.FileDamage{{File: "x", Problem: "gone"}}
	}
	if _, err := putVerification(s, id, v.At, v); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsInherited: however chains branch and whatever of them is damaged, every way to read a record tells of the damage below
// it what a walk along the parents finds, and pages of what is damaged hold just that.
func TestDamageIsInherited(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := openNew(t)
		parents, bad := map[string]string{}, map[string]bool{}
		var ids []string
		for i := range rapid.IntRange(1, 12).Draw(rt, "points") {
			parent := ""
			if i > 0 && rapid.IntRange(0, 4).Draw(rt, "full") > 0 {
				parent = rapid.SampledFrom(ids).Draw(rt, "parent")
			}
			id := onChain(t, s, "vm", parent, start.Add(time.Duration(i)*time.Minute))
			parents[id], ids = parent, append(ids, id)
		}
		for range rapid.IntRange(0, 8).Draw(rt, "verifications") {
			id := rapid.SampledFrom(ids).Draw(rt, "verified")
			bad[id] = rapid.Bool().Draw(rt, "damaged")
			spoil(t, s, id, bad[id])
		}
		damaged := []string{}
		lastGood := ""
		for _, id := range ids {
			var below []string
			for at := parents[id]; at != ""; at = parents[at] {
				if bad[at] {
					below = append(below, at)
				}
			}
			b, err := s.Backup(id)
			if diff := cmp.Diff(below, b.DamageBelow); err != nil || diff != "" || b.Damaged() != (bad[id] || below != nil) {
				rt.Fatalf("%s: %v, damaged %v, error %v", id, diff, b.Damaged(), err)
			}
			if b.Damaged() {
				damaged = append([]string{id}, damaged...)
			} else {
				lastGood = id
			}
		}
		checkDamage(t, rt, s, damaged, lastGood)
	})
}

// checkDamage compares what the store says of all restore points with what is right.
func checkDamage(t *testing.T, rt *rapid.T, s *Store, damaged []string, lastGood string) {
	for limit := range 4 {
		if diff := cmp.Diff(damaged, all(t, s, query.Query{Damaged: true, Limit: limit})); diff != "" {
			rt.Fatalf("pages of %d: %s", limit, diff)
		}
	}
	page, _, err := s.Backups(query.Query{VMName: "vm"})
	if err != nil {
		rt.Fatal(err)
	}
	points, err := s.PointsOf(schema.PointGroup{Repository: "local", VM: "vm"})
	if err != nil {
		rt.Fatal(err)
	}
	for _, b := range append(page, points...) {
		if want := slices.Contains(damaged, b.ID); b.Damaged() != want {
			rt.Fatalf("%s of a list: damaged %v", b.ID, b.Damaged())
		}
		by, err := s.DamagedBy(b.ID)
		if err != nil {
			rt.Fatal(err)
		}
		for _, id := range by {
			if above, err := s.Backup(id); err != nil || !slices.Contains(above.DamageBelow, b.ID) {
				rt.Fatalf("%s is damaged by %s, %v", id, b.ID, err)
			}
		}
	}
	if n, err := s.DamagedPoints(); n != len(damaged) || err != nil {
		rt.Fatalf("%d are damaged, not %d, error %v", n, len(damaged), err)
	}
	if b, found, err := s.LatestGood("vm", "local", start.AddDate(1, 0, 0)); err != nil || found != (lastGood != "") || b.ID != lastGood {
		rt.Fatalf("the newest good one is %q, not %q, error %v", b.ID, lastGood, err)
	}
}

// TestNothingIsBuiltOnDamage: no backup gets a damaged chain, and none is merged, whatever asks for it.
func TestNothingIsBuiltOnDamage(t *testing.T) {
	s := openNew(t)
	full := onChain(t, s, "vm", "", start)
	top := onChain(t, s, "vm", full, start.Add(time.Minute))
	merge := func(committing bool) error {
		_, _, err := s.Update(top, start.AddDate(0, 1, 0), func(b *record.Backup) error {
			b.Merge = &record.Merge{StartedAt: start, Committing: committing}
			return nil
		})
		return err
	}
	if err := merge(false); err != nil {
		t.Fatal(err)
	}
	spoil(t, s, full, true)
	var damaged *rules.DamagedError
	if err := merge(true); !errors.As(err, &damaged) || *damaged != (rules.DamagedError{BackupID: top, By: full}) {
		t.Errorf("the exchange: %v", err)
	}
	if _, _, err := s.Update(top, start.AddDate(0, 1, 0), func(b *record.Backup) error { b.Merge = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := merge(false); !errors.As(err, &damaged) {
		t.Errorf("the beginning: %v", err)
	}
	p := preparation(vmOf("vm", 1), start.AddDate(0, 2, 0))
	p.Backup.Type, p.Backup.Parent = record.Incremental, top
	if _, _, err := s.Prepare(p); !errors.As(err, &damaged) || damaged.By != full {
		t.Errorf("an incremental: %v", err)
	}
	spoil(t, s, full, false)
	if _, _, err := s.Prepare(p); err != nil {
		t.Errorf("once the file is back: %v", err)
	}
}

// BenchmarkDamagedPage: a page of a list where a tenth of all restore points are damaged, read again and after a change.
func BenchmarkDamagedPage(b *testing.B) {
	for name, q := range map[string]query.Query{"all": {}, "damaged": {Damaged: true}} {
		for _, n := range []int{1000, 10_000, 100_000} {
			for _, changed := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/%d/changed=%v", name, n, changed), func(b *testing.B) {
					s := withRecords(b, n)
					damageTenth(b, s, n)
					q.Limit = 10
					_, q.Cursor, _ = s.Backups(q)
					for b.Loop() {
						if changed {
							s.Reader = query.NewReader(s.file)
						}
						if page, _, err := s.Backups(q); err != nil || len(page) == 0 {
							b.Fatal(len(page), err)
						}
					}
				})
			}
		}
	}
}

// damageTenth makes chains of 30 of the records, and damages the lowest of every tenth chain.
func damageTenth(b *testing.B, s *Store, n int) {
	err := s.file.Update(func(t *dbfile.Tx) error {
		for i := range n {
			before, err := schema.Backup(t, fmt.Sprintf("backup-vm%d-%d", i%100, i))
			if err != nil {
				return err
			}
			after := before
			switch i / 100 % 30 {
			case 0:
				if i%10 == 0 {
					after.Verified = &record.Verification{Damage: []record.FileDamage{{File: "x", Problem: "gone"}}}
				}
			default:
				after.Parent = fmt.Sprintf("backup-vm%d-%d", i%100, i-100)
			}
			if err := replaceBackup(t, before, after); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
