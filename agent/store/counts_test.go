package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
)

// Restore points are counted, and nothing else is, whatever repositories and VMs are called.
func TestPoints(t *testing.T) {
	s := openNew(t)
	at := start
	put := func(repository, vm string) record.Backup {
		t.Helper()
		at = at.Add(time.Hour)
		p := preparation(vmOf(vm, 1), at)
		p.Backup.Repository = repository
		b, _, err := s.Prepare(p)
		must(t, err)
		return b
	}
	points := func(want map[string]int) {
		t.Helper()
		got, err := s.Points()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	points(map[string]int{})
	odd := `o"d/d`
	for range 300 { // more than a page of the list
		step(t, s, put("local", "a"), toCompleted...)
	}
	last := step(t, s, put("local", `"/b`), toCompleted...)
	step(t, s, put(odd, "a"), toCompleted...)
	fail(t, s, put("local", "c"))
	put("other", "d")
	points(map[string]int{"local": 301, odd: 1})
	step(t, s, last, record.Deleting)
	points(map[string]int{"local": 300, odd: 1})
}
