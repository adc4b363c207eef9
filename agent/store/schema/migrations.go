package schema

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// A Migration brings a file from the previous schema version to its own.
type Migration struct {
	Version int
	About   string
	Apply   func(*bolt.Tx) error
}

// Migrations is every step from an empty file to the schema of buckets.go, without a gap. A released step is never changed:
// files in the field are as it made them. For that reason the steps spell out the names of buckets.
var Migrations = []Migration{
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
	{6, "make the bucket of paused repositories", func(t *bolt.Tx) error {
		_, err := t.CreateBucket([]byte("paused"))
		return err
	}},
	{7, "make the bucket of repositories that are imported", func(t *bolt.Tx) error {
		_, err := t.CreateBucket([]byte("importing"))
		return err
	}},
	{8, "make the buckets of schedules and their runs", func(t *bolt.Tx) error {
		for _, name := range []string{"schedules", "runs", "run_vms"} {
			if _, err := t.CreateBucket([]byte(name)); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
		}
		return nil
	}},
}

// SchemaVersion reads the version of a file; 0 for a file without buckets.
func SchemaVersion(t *bolt.Tx) (int, error) {
	meta := t.Bucket(BucketMeta)
	if meta == nil {
		if name, _ := t.Cursor().First(); name != nil {
			return 0, fmt.Errorf("bucket %q but no schema version: not a database of this agent", name)
		}
		return 0, nil
	}
	text := meta.Get(KeySchema)
	version, err := strconv.Atoi(string(text))
	if err != nil || version < 1 {
		return 0, fmt.Errorf("schema version %q", text)
	}
	return version, nil
}

// Migrate runs the steps that a file of the given version lacks, and records the version reached.
func Migrate(t *bolt.Tx, from int, steps []Migration) error {
	to := from
	for _, m := range steps {
		if m.Version <= from {
			continue
		}
		if err := m.Apply(t); err != nil {
			return fmt.Errorf("migration to schema version %d (%s): %w", m.Version, m.About, err)
		}
		to = m.Version
	}
	if to == from {
		return nil
	}
	return t.Bucket(BucketMeta).Put(KeySchema, []byte(strconv.Itoa(to)))
}

// Latest is the version that the steps lead to.
func Latest(steps []Migration) int { return steps[len(steps)-1].Version }

// Upgrade brings the schema of a file up to date.
func Upgrade(f *dbfile.File, steps []Migration) error {
	err := f.Update(func(t *dbfile.Tx) error {
		version, err := Version(t, Latest(steps))
		switch {
		case err != nil:
			return err
		case version == Latest(steps):
			return dbfile.ErrUnchanged
		}
		err = Migrate(t.Tx, version, steps)
		failpoint.Reach("database: committing migration")
		return err
	})
	failpoint.Reach("database: schema looked at")
	return err
}

// Version is the schema version of a file, if an agent that supports versions up to supported knows it.
func Version(t *dbfile.Tx, supported int) (int, error) {
	version, err := SchemaVersion(t.Tx)
	switch {
	case err != nil:
		return 0, t.Damaged("%v", err)
	case version == 0:
		return 0, t.Damaged("it has no buckets") // create never leaves such a file
	case version > supported:
		return 0, &NewerSchemaError{Path: t.Path(), Version: version, Supported: supported}
	}
	return version, nil
}
