package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A migration brings a file from the schema version before it to its own.
type migration struct {
	version int
	about   string
	apply   func(*bolt.Tx) error
}

// migrations is every step from an empty file to the schema of buckets.go, without a gap. A step is never changed once
// it was released: what it makes is what is out there. Steps write their bucket names out for that reason.
var migrations = []migration{
	{1, "make the buckets", func(t *bolt.Tx) error {
		for _, name := range []string{
			"meta", "vms", "backups", "removed", "requests", "active", "leases",
			"cooling_ports", "cooling_vms", "claims", "lists",
		} {
			if _, err := t.CreateBucket([]byte(name)); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
		}
		return nil
	}},
	{2, "make the buckets of restores", func(t *bolt.Tx) error {
		for _, name := range []string{"restores", "active_restores"} {
			if _, err := t.CreateBucket([]byte(name)); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
		}
		return nil
	}},
	{4, "order the restore points by when they were verified", func(t *bolt.Tx) error {
		var into [2]*bolt.Bucket
		for i, name := range []string{"verified", "verified_deep"} {
			var err error
			if into[i], err = t.CreateBucket([]byte(name)); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
		}
		return t.Bucket([]byte("backups")).ForEach(func(id, value []byte) error {
			var b struct {
				State   string    `json:"state"`
				EndedAt time.Time `json:"ended_at"`
			}
			if err := json.Unmarshal(value, &b); err != nil {
				return fmt.Errorf("backups/%q: %w", id, err)
			}
			if b.State != "completed" {
				return nil
			}
			key := append(binary.BigEndian.AppendUint64(nil, uint64(b.EndedAt.UnixNano())), id...)
			return errors.Join(into[0].Put(key, []byte{}), into[1].Put(key, []byte{}))
		})
	}},
	{5, "order the restore points as they were made, not by their dates", migrateSequences},
}

// schemaVersion reads the version of a file; 0 is a file with no bucket at all.
func schemaVersion(t *bolt.Tx) (int, error) {
	meta := t.Bucket(bucketMeta)
	if meta == nil {
		if name, _ := t.Cursor().First(); name != nil {
			return 0, fmt.Errorf("bucket %q but no schema version: not a database of this agent", name)
		}
		return 0, nil
	}
	text := meta.Get(keySchema)
	version, err := strconv.Atoi(string(text))
	if err != nil || version < 1 {
		return 0, fmt.Errorf("schema version %q", text)
	}
	return version, nil
}

// migrate takes the steps that a file of the given version lacks, and notes the version reached.
func migrate(t *bolt.Tx, from int, steps []migration) error {
	to := from
	for _, m := range steps {
		if m.version <= from {
			continue
		}
		if err := m.apply(t); err != nil {
			return fmt.Errorf("migration to schema version %d (%s): %w", m.version, m.about, err)
		}
		to = m.version
	}
	if to == from {
		return nil
	}
	return t.Bucket(bucketMeta).Put(keySchema, []byte(strconv.Itoa(to)))
}

// latest is the version that the steps lead to.
func latest(steps []migration) int { return steps[len(steps)-1].version }
