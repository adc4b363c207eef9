package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/check"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Whatever is broken behind the store's back, Check finds it.
func TestCheckFinds(t *testing.T) {
	whole := filled(t)
	active, ended := "", ""
	open := func(t *testing.T) *Store {
		path := filepath.Join(t.TempDir(), "agent.db")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open(t)
	list, err := s.Active()
	if err != nil || len(list) == 0 {
		t.Fatal(err)
	}
	active = list[0].ID
	points, _, err := s.Backups(query.Query{State: record.Completed, Limit: 1})
	if err != nil || len(points) == 0 {
		t.Fatal(err)
	}
	ended = points[0].ID

	first := func(b *bolt.Bucket) []byte {
		k, _ := b.Cursor().First()
		return bytes.Clone(k)
	}
	rewrite := func(id string, f func(*record.Backup)) func(*dbfile.Tx) error {
		return func(t *dbfile.Tx) error {
			b, err := schema.Backup(t, id)
			if err != nil {
				return err
			}
			f(&b)
			return schema.Put(t, schema.BucketBackups, []byte(id), b)
		}
	}
	drop := func(bucket []byte) func(*dbfile.Tx) error {
		return func(t *dbfile.Tx) error { return t.Bucket(bucket).Delete(first(t.Bucket(bucket))) }
	}
	add := func(bucket []byte, key, value string) func(*dbfile.Tx) error {
		return func(t *dbfile.Tx) error { return t.Bucket(bucket).Put([]byte(key), []byte(value)) }
	}
	inList := func(name string, f func(*bolt.Bucket) error) func(*dbfile.Tx) error {
		return func(t *dbfile.Tx) error { return f(t.Bucket(schema.BucketLists).Bucket([]byte(name))) }
	}
	for name, spoil := range map[string]func(*dbfile.Tx) error{
		"lease lost":            drop(schema.BucketLeases),
		"active entry lost":     drop(schema.BucketActive),
		"claim lost":            drop(schema.BucketClaims),
		"request lost":          drop(schema.BucketRequests),
		"record lost":           func(t *dbfile.Tx) error { return t.Bucket(schema.BucketBackups).Delete([]byte(ended)) },
		"active record lost":    func(t *dbfile.Tx) error { return t.Bucket(schema.BucketBackups).Delete([]byte(active)) },
		"lease no JSON":         add(schema.BucketLeases, "\x00\x01", `{`),
		"active of nobody":      add(schema.BucketActive, "x", "x"),
		"active, but ended":     add(schema.BucketActive, "x", ended),
		"claim of nobody":       add(schema.BucketClaims, "unit:x", "x"),
		"request of nobody":     add(schema.BucketRequests, "x", "x"),
		"removed and there":     add(schema.BucketRemoved, ended, "12345678"),
		"record no JSON":        add(schema.BucketBackups, ended, "{"),
		"vm no JSON":            add(schema.BucketVMs, "x", "{"),
		"vm of another name":    add(schema.BucketVMs, "x", `{"name":"y"}`),
		"cooling short":         add(schema.BucketCoolingPorts, "\x00\x01", "x"),
		"cooling of the active": add(schema.BucketCoolingVMs, "x", "12345678"+active),
		"ended, still leased":   rewrite(active, func(b *record.Backup) { b.State = record.Failed }),
		"active again":          rewrite(ended, func(b *record.Backup) { b.State = record.Running }),
		"other time":            rewrite(ended, func(b *record.Backup) { b.CreatedAt = b.CreatedAt.Add(1) }),
		"other vm":              rewrite(ended, func(b *record.Backup) { b.VM.Name = "x" }),
		"other id":              rewrite(ended, func(b *record.Backup) { b.ID = "x" }),
		"other port":            rewrite(active, func(b *record.Backup) { b.Runs[0].Port++ }),
		"other unit":            rewrite(active, func(b *record.Backup) { b.Runs[0].Unit = "x" }),
		"no such parent":        rewrite(active, func(b *record.Backup) { b.Parent = "x" }),
		"not in a list":         inList(schema.ListAll, func(b *bolt.Bucket) error { return b.Delete(first(b)) }),
		"nobody in a list":      inList(schema.ListAll, func(b *bolt.Bucket) error { return b.Put([]byte("12345678x"), nil) }),
		"list lost":             func(t *dbfile.Tx) error { return t.Bucket(schema.BucketLists).DeleteBucket([]byte(schema.ListAll)) },
		"list of nobody":        func(t *dbfile.Tx) error { _, err := t.Bucket(schema.BucketLists).CreateBucket([]byte("x")); return err },
		"no list":               add(schema.BucketLists, "x", "x"),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if err := s.Check(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := s.file.Update(spoil); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(context.Background()); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestStrayLease: a lease that no active backup has is told of, and can be given back. One that is held cannot.
func TestStrayLease(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 2), start)
	held, err := s.Leases()
	if err != nil || len(held) != 2 {
		t.Fatalf("%+v, %v", held, err)
	}
	strays := []record.Lease{
		{Port: 1, BackupID: "nobody", Nonce: "x"},
		{Port: 2, BackupID: b.ID, DiskID: 0, Nonce: held[0].Nonce},
		{Port: 3, BackupID: b.ID, DiskID: 9, Nonce: "x"},
	}
	err = s.file.Update(func(t *dbfile.Tx) error {
		for _, l := range strays {
			if err := schema.Put(t, schema.BucketLeases, schema.EncodePort(l.Port), l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var told *check.StrayError
	if err := s.Check(context.Background()); !errors.As(err, &told) || !reflect.DeepEqual(told.Leases, strays) || errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	wrong := strays[0]
	wrong.Nonce = "y" // leased again meanwhile
	for _, l := range append(strays, append(held, wrong)...) {
		if err := s.ReturnStray(l); err != nil {
			t.Error(err)
		}
	}
	left, err := s.Leases()
	if err != nil || !reflect.DeepEqual(left, held) {
		t.Errorf("left %+v, %v", left, err)
	}
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestCheckStops(t *testing.T) {
	s := openNew(t)
	mustPrepare(t, s, vmOf("a", 1), start)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A record that cannot be read is an error that says so, and not a missing one.
func TestDamagedRecord(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "agent.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := mustPrepare(t, s, vmOf("a", 1), start)
	if err := s.file.Update(func(t *dbfile.Tx) error { return t.Bucket(schema.BucketBackups).Put([]byte(b.ID), []byte("{")) }); err != nil {
		t.Fatal(err)
	}
	_, errBackup := s.Backup(b.ID)
	_, _, errPage := s.Backups(query.Query{})
	_, errActive := s.Active()
	_, _, errUpdate := s.Update(b.ID, start, setState(record.Exporting))
	for _, err := range []error{errBackup, errPage, errActive, errUpdate} {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), s.file.Path()) || !strings.Contains(err.Error(), b.ID) {
			t.Errorf("got %v", err)
		}
	}
}
