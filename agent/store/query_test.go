package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

func ids(list []record.Backup) []string {
	out := []string{}
	for _, b := range list {
		out = append(out, b.ID)
	}
	return out
}

// all turns every page.
func all(t *testing.T, s *Store, q query.Query) []string {
	t.Helper()
	out, size := []string{}, query.DefaultPage
	if q.Limit > 0 {
		size = min(q.Limit, query.MaxPage)
	}
	for {
		page, next, err := s.Backups(q)
		if err != nil || len(page) > size || (next != "" && len(page) != size) {
			t.Fatalf("page of %d, next %q, error %v", len(page), next, err)
		}
		out = append(out, ids(page)...)
		if next == "" {
			return out
		}
		q.Cursor = next
	}
}

func TestBackups(t *testing.T) {
	s := openNew(t)
	// Names that could be confused, if keys were put together carelessly.
	names := []string{"a", "a/vm/b", "b", "vm/a", "completed", "all"}
	type selection struct {
		vm    string
		state record.State
	}
	want := map[selection][]string{}
	for i := range 24 {
		// Two at a time have the same creation time.
		b := mustPrepare(t, s, vmOf(names[i%len(names)], 1), start.Add(time.Duration(i/2)*time.Minute))
		if i%3 == 0 {
			b = fail(t, s, b)
		} else {
			b = step(t, s, b, toCompleted...)
		}
		for _, of := range []selection{{}, {vm: b.VM.Name}, {state: b.State}, {b.VM.Name, b.State}} {
			want[of] = append([]string{b.ID}, want[of]...)
		}
	}
	for of := range want {
		q := query.Query{VMName: of.vm, State: of.state}
		for _, q.Limit = range []int{0, 1, 3, 4, 24, query.MaxPage + 1} {
			got := all(t, s, q)
			if diff := cmp.Diff(sameTimes(t, s, want[of]), sameTimes(t, s, got)); diff != "" {
				t.Errorf("%+v: %s", q, diff)
			}
		}
	}
	for _, q := range []query.Query{{VMName: "c"}, {State: record.Running}, {VMName: "a", State: record.Running}, {State: "x"}} {
		if got := all(t, s, q); len(got) > 0 {
			t.Errorf("%+v: %v", q, got)
		}
	}
}

// A prefix selects by id alone, in the order of a list, and turns pages like every other query.
func TestBackupsByPrefix(t *testing.T) {
	s := openNew(t)
	want := []string{}
	for i := range 12 {
		name := []string{"a", "ab", "b"}[i%3]
		b := fail(t, s, mustPrepare(t, s, vmOf(name, 1), start.Add(time.Duration(i)*time.Minute)))
		if name != "b" {
			want = append([]string{b.ID}, want...)
		}
	}
	for _, limit := range []int{0, 1, 3, 8} {
		q, got := query.Query{IDPrefix: "backup-a", Limit: limit}, []string{}
		for {
			page, next, err := s.Backups(q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ids(page)...)
			if q.Cursor = next; next == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
	if got := all(t, s, query.Query{IDPrefix: want[0]}); !cmp.Equal(got, want[:1]) {
		t.Errorf("a whole id: %v", got)
	}
	if got := all(t, s, query.Query{IDPrefix: "backup-c"}); len(got) > 0 {
		t.Errorf("no id: %v", got)
	}
}

// sameTimes orders ids of one creation time, whose order is not promised.
func sameTimes(t *testing.T, s *Store, list []string) []string {
	t.Helper()
	out := append([]string{}, list...)
	created := func(id string) time.Time {
		b, err := s.Backup(id)
		if err != nil {
			t.Fatal(err)
		}
		return b.CreatedAt
	}
	for i := 1; i < len(out); i++ {
		if created(out[i-1]).Equal(created(out[i])) && out[i-1] > out[i] {
			out[i-1], out[i] = out[i], out[i-1]
		}
	}
	return out
}

// A cursor stays right while backups come and go.
func TestCursorSurvivesChanges(t *testing.T) {
	s := openNew(t)
	var made []string
	for i := range 6 {
		made = append(made, fail(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(time.Duration(i)*time.Hour))).ID)
	}
	page, next, err := s.Backups(query.Query{Limit: 2})
	if err != nil || !cmp.Equal(ids(page), []string{made[5], made[4]}) {
		t.Fatalf("got %v, error %v", ids(page), err)
	}
	fail(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(100*time.Hour)))
	for _, id := range []string{made[4], made[3], made[5]} {
		drop(t, s, id)
	}
	page, next, err = s.Backups(query.Query{Limit: 2, Cursor: next})
	if err != nil || !cmp.Equal(ids(page), []string{made[2], made[1]}) {
		t.Fatalf("got %v, error %v", ids(page), err)
	}
	for _, id := range made[:2] {
		drop(t, s, id)
	}
	if page, next, err = s.Backups(query.Query{Cursor: next}); err != nil || len(page) > 0 || next != "" {
		t.Errorf("got %v, next %q, error %v", ids(page), next, err)
	}
}

// A cursor behind every record, as when the newest were removed, is the first page.
func TestCursorAboveEverything(t *testing.T) {
	s := openNew(t)
	first := fail(t, s, mustPrepare(t, s, vmOf("a", 1), start))
	cursor := base64.RawURLEncoding.EncodeToString(schema.ListKey(schema.ListAll, record.Backup{ID: "x", CreatedAt: start.Add(time.Hour)}))
	if page, _, err := s.Backups(query.Query{Cursor: cursor}); err != nil || !cmp.Equal(ids(page), []string{first.ID}) {
		t.Errorf("got %v, error %v", ids(page), err)
	}
}

func TestBadCursor(t *testing.T) {
	s := openNew(t)
	for _, cursor := range []string{"x", "%%%", "AAAAAAAAAAA", "AAAAAAAAAAAB_w==", "backup-a-1", fmt.Sprintf("%04000d", 7)} {
		if _, _, err := s.Backups(query.Query{Cursor: cursor}); !errors.Is(err, query.ErrBadCursor) {
			t.Errorf("%.20q: %v", cursor, err)
		}
	}
}

// A query by repository and time gives what going through everything by hand gives, in pages of any size.
func TestBackupsByRepositoryAndTime(t *testing.T) {
	s := openNew(t)
	var made []record.Backup
	for i := range 24 {
		p := preparation(vmOf([]string{"a", "b"}[i%2], 1), start.Add(time.Duration(i)*time.Minute))
		p.Backup.Repository = []string{"main", "nas", "tape"}[i%3]
		b, _, err := s.Prepare(p)
		if err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			b = fail(t, s, b)
		} else {
			b = step(t, s, b, toCompleted...)
		}
		made = append([]record.Backup{b}, made...)
	}
	rapid.Check(t, func(r *rapid.T) {
		q := query.Query{
			VMName:     rapid.SampledFrom([]string{"", "a", "c"}).Draw(r, "vm"),
			State:      rapid.SampledFrom([]record.State{"", record.Completed, record.Failed}).Draw(r, "state"),
			Repository: rapid.SampledFrom([]string{"", "nas", "none"}).Draw(r, "repository"),
			Limit:      rapid.IntRange(1, 25).Draw(r, "limit"),
		}
		at := rapid.IntRange(-60, 30*60)
		if rapid.Bool().Draw(r, "bounded") {
			q.Since = start.Add(time.Duration(at.Draw(r, "since")) * time.Second)
			q.Until = start.Add(time.Duration(at.Draw(r, "until")) * time.Second)
		}
		want := []string{}
		for _, b := range made {
			if (q.VMName == "" || b.VM.Name == q.VMName) && (q.State == "" || b.State == q.State) &&
				(q.Repository == "" || b.Repository == q.Repository) && !b.CreatedAt.Before(q.Since) && (q.Until.IsZero() || b.CreatedAt.Before(q.Until)) {
				want = append(want, b.ID)
			}
		}
		if diff := cmp.Diff(want, all(t, s, q)); diff != "" {
			r.Fatalf("%+v: %s", q, diff)
		}
	})
}

// However rare a repository is, a page reads a bounded number of records, and the next one continues after them.
func TestPageLooksNoFurtherThanItMay(t *testing.T) {
	s := openNew(t)
	first := record.Backup{ID: "backup-a-0", VM: vmOf("a", 1), Repository: "nas", State: record.Completed, CreatedAt: start}
	err := s.file.Update(func(t *dbfile.Tx) error {
		b := first
		for i := range query.MaxPage + 10 {
			if err := errors.Join(schema.Index(t, nil, &b), schema.Put(t, schema.BucketBackups, []byte(b.ID), b)); err != nil {
				return err
			}
			b.ID, b.Repository, b.CreatedAt = fmt.Sprint("backup-a-", i+1), "main", b.CreatedAt.Add(time.Second)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	page, next, err := s.Backups(query.Query{Repository: "nas", Limit: 1})
	if err != nil || len(page) != 0 || next == "" {
		t.Fatalf("%v, next %q, error %v", ids(page), next, err)
	}
	page, next, err = s.Backups(query.Query{Repository: "nas", Limit: 1, Cursor: next})
	if err != nil || !cmp.Equal(ids(page), []string{first.ID}) || next != "" {
		t.Fatalf("%v, next %q, error %v", ids(page), next, err)
	}
}

func TestBadTime(t *testing.T) {
	s := openNew(t)
	for _, q := range []query.Query{{Since: time.Unix(-1, 0)}, {Until: time.Unix(1<<40, 0)}} {
		if _, _, err := s.Backups(q); !errors.Is(err, query.ErrBadTime) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
