package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
)

// verify puts a verification on record.
func verify(t *testing.T, s *Store, id string, v record.Verification) {
	t.Helper()
	if _, err := putVerification(s, id, v.At, &v); err != nil {
		t.Fatal(err)
	}
}

// TestLongestUnverified: the order is by the last verification, or else by the end of the backup, and what is no restore point
// has no place in it.
func TestLongestUnverified(t *testing.T) {
	s := openNew(t)
	if _, found, err := s.LongestUnverified(Unverified{Now: start}); found || err != nil {
		t.Fatalf("found %v in an empty database, error %v", found, err)
	}
	var points []string
	for i, name := range []string{"a", "b", "c"} {
		b := step(t, s, mustPrepare(t, s, vmOf(name, 1), start.Add(time.Duration(i)*time.Minute)), toCompleted...)
		points = append(points, b.ID)
	}
	fail(t, s, mustPrepare(t, s, vmOf("d", 1), start))
	order := func(deep bool) (ids []string) {
		passed := map[string]bool{}
		for {
			b, found, err := s.LongestUnverified(Unverified{Deep: deep, Now: start.AddDate(1, 0, 0), Pass: func(id string) bool { return passed[id] }})
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				return ids
			}
			ids, passed[b.ID] = append(ids, b.ID), true
		}
	}
	later := start.AddDate(0, 1, 0)
	verify(t, s, points[0], record.Verification{At: later.Add(2 * time.Hour)})
	verify(t, s, points[1], record.Verification{At: later.Add(time.Hour), DeepAt: later.Add(time.Hour)})
	for deep, want := range map[bool][]string{
		false: {points[2], points[1], points[0]},
		true:  {points[0], points[2], points[1]},
	} {
		if diff := cmp.Diff(want, order(deep)); diff != "" {
			t.Errorf("deep %v: %s", deep, diff)
		}
	}
	b, err := s.Backup(points[2])
	if err != nil {
		t.Fatal(err)
	}
	step(t, s, b, record.Deleting)
	verify(t, s, points[2], record.Verification{At: later})
	if got := order(false); len(got) != 2 {
		t.Errorf("one is being deleted, and the order is %v", got)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDamagedAndTags: what is damaged, and what has a tag, can be asked for by itself and together with all else.
func TestDamagedAndTags(t *testing.T) {
	s := openNew(t)
	var ids []string
	for i, name := range []string{"a", "b", "c"} {
		p := preparation(vmOf(name, 1), start.Add(time.Duration(i)*time.Minute))
		p.Backup.Tags = map[string]string{"tier": name, "all": ""}
		b, _, err := s.Prepare(p)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, step(t, s, b, toCompleted...).ID)
	}
	damage := []record.FileDamage{{File: "x", Problem: "gone"}}
	verify(t, s, ids[0], record.Verification{At: start.AddDate(0, 1, 0), Damage: damage})
	verify(t, s, ids[1], record.Verification{At: start.AddDate(0, 1, 0), Damage: damage})
	for name, test := range map[string]struct {
		q    query.Query
		want []string
	}{
		"damaged":            {query.Query{Damaged: true}, []string{ids[1], ids[0]}},
		"damaged of a vm":    {query.Query{Damaged: true, VMName: "a"}, []string{ids[0]}},
		"damaged, failed":    {query.Query{Damaged: true, State: record.Failed}, []string{}},
		"tag":                {query.Query{Tags: map[string]string{"tier": "b"}}, []string{ids[1]}},
		"tag of any value":   {query.Query{Tags: map[string]string{"tier": ""}}, []string{ids[2], ids[1], ids[0]}},
		"two tags":           {query.Query{Tags: map[string]string{"tier": "c", "all": ""}}, []string{ids[2]}},
		"tag of another":     {query.Query{Tags: map[string]string{"tier": "d"}}, []string{}},
		"tag that is not":    {query.Query{Tags: map[string]string{"none": ""}}, []string{}},
		"tag, vm, and state": {query.Query{Tags: map[string]string{"tier": "a"}, VMName: "a", State: record.Completed, Repository: "local"}, []string{ids[0]}},
	} {
		for _, test.q.Limit = range []int{0, 1} {
			if diff := cmp.Diff(test.want, all(t, s, test.q)); diff != "" {
				t.Errorf("%s, pages of %d: %s", name, test.q.Limit, diff)
			}
		}
	}
	if n, err := s.DamagedPoints(); n != 2 || err != nil {
		t.Errorf("%d are damaged, error %v", n, err)
	}
	verify(t, s, ids[0], record.Verification{At: start.AddDate(0, 2, 0)})
	if n, err := s.DamagedPoints(); n != 1 || err != nil {
		t.Errorf("%d are damaged after one was found whole, error %v", n, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
