package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/store/schema"
)

// Inspect tells what Open would find, and leaves every byte as it is.
func TestInspect(t *testing.T) {
	whole := filled(t)
	inspect := func(t *testing.T, data []byte) (Inspection, error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "agent.db")
		must(t, os.WriteFile(path, data, 0o400))
		found, err := Inspect(t.Context(), path, time.Second, 1<<30)
		after, readErr := os.ReadFile(path)
		must(t, readErr)
		if !bytes.Equal(data, after) {
			t.Error("the file was changed")
		}
		return found, err
	}
	found, err := inspect(t, whole)
	if err != nil || !found.Whole || found.Version != schema.Latest(schema.Migrations) || found.SizeBytes == 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := inspect(t, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := inspect(t, whole[:len(whole)/2]); !errors.Is(err, ErrDamaged) {
		t.Errorf("half a file: %v", err)
	}
	if _, err := inspect(t, bytes.ReplaceAll(whole, []byte(`"state":"completed"`), []byte(`"state":"complexed"`))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a record that cannot be read: %v", err)
	}
	var newer *schema.NewerSchemaError
	if _, err := inspect(t, withSchema(t, whole, "99")); !errors.As(err, &newer) || newer.Version != 99 {
		t.Errorf("a newer schema: %v", err)
	}
}

// TestInspectLocked: a database that an agent has open is left to it.
func TestInspectLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	s, err := Open(path, Options{})
	must(t, err)
	var locked *LockedError
	if _, err := Inspect(t.Context(), path, 10*time.Millisecond, 0); !errors.As(err, &locked) {
		t.Errorf("while it is open: %v", err)
	}
	must(t, s.Close())
	if found, err := Inspect(t.Context(), path, time.Second, 0); err != nil || found.Whole {
		t.Errorf("closed, and larger than what is read: %+v, %v", found, err)
	}
}

// withSchema is a database with another number as its schema version.
func withSchema(t *testing.T, data []byte, version string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.db")
	must(t, os.WriteFile(path, data, 0o600))
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(t *bolt.Tx) error { return t.Bucket(schema.BucketMeta).Put(schema.KeySchema, []byte(version)) }))
	must(t, db.Close())
	changed, err := os.ReadFile(path)
	must(t, err)
	return changed
}
