package schema

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
)

// A record4 is what the migration to version 5 reads of a record. It is never changed: see Migrations.
type record4 struct {
	ID         string    `json:"backup_id"`
	Parent     string    `json:"parent"`
	Repository string    `json:"repository_id"`
	State      string    `json:"state"`
	CreatedAt  time.Time `json:"created_at"`
	EndedAt    time.Time `json:"ended_at"`
	VM         struct {
		Name string `json:"name"`
	} `json:"vm"`
	Verified struct {
		At     time.Time `json:"at"`
		DeepAt time.Time `json:"deep_at"`
	} `json:"verified"`
}

// migrateSequences gives every restore point the sequence that record.Sequences computes from its parent and its date, and
// every active backup the next sequences of the database. It makes the lists "order/", and makes the orders of verification
// again: an earlier verification of a restore point whose backup ended in the future counts now.
func migrateSequences(t *bolt.Tx) error {
	records := t.Bucket([]byte("backups"))
	points, completed, active, err := readRecords4(records)
	if err != nil {
		return err
	}
	sequences, last, now := map[string]uint64{}, uint64(1<<32-1), time.Now()
	for _, group := range points {
		for id, n := range record.Sequences(group, now) {
			sequences[id], last = n, max(last, n)
		}
	}
	if err := records.SetSequence(last); err != nil {
		return err
	}
	for _, r := range active {
		if sequences[r.ID], err = records.NextSequence(); err != nil {
			return err
		}
	}
	for id, n := range sequences {
		if err := putSequence(records, id, n); err != nil {
			return err
		}
	}
	if _, err := t.CreateBucket([]byte("prune_held")); err != nil {
		return fmt.Errorf("bucket prune_held: %w", err)
	}
	return orderPoints(t, completed, sequences)
}

// readRecords4 reads the restore points, also by repository and VM, and the active backups.
func readRecords4(records *bolt.Bucket) (points map[[2]string][]record.Made, completed, active []record4, err error) {
	points = map[[2]string][]record.Made{}
	err = records.ForEach(func(id, value []byte) error {
		var r record4
		if err := json.Unmarshal(value, &r); err != nil {
			return fmt.Errorf("backups/%q: %w", id, err)
		}
		r.ID = string(id)
		switch r.State {
		case "completed":
			completed = append(completed, r)
			group := [2]string{r.Repository, r.VM.Name}
			points[group] = append(points[group], record.Made{ID: r.ID, Parent: r.Parent, CreatedAt: r.CreatedAt})
		case "failed", "cancelled", "deleting":
		default:
			active = append(active, r)
		}
		return nil
	})
	return points, completed, active, err
}

// putSequence adds the sequence to a record and leaves everything else unchanged.
func putSequence(records *bolt.Bucket, id string, n uint64) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(records.Get([]byte(id)), &fields); err != nil {
		return fmt.Errorf("backups/%q: %w", id, err)
	}
	fields["sequence"] = strconv.AppendUint(nil, n, 10)
	value, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("backups/%q: %w", id, err)
	}
	return records.Put([]byte(id), value)
}

// orderPoints makes the orders of version 5.
func orderPoints(t *bolt.Tx, points []record4, sequences map[string]uint64) error {
	var verified [2]*bolt.Bucket
	for i, name := range []string{"verified", "verified_deep"} {
		err := t.DeleteBucket([]byte(name))
		if err == nil {
			verified[i], err = t.CreateBucket([]byte(name))
		}
		if err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	for _, r := range points {
		list, err := t.Bucket([]byte("lists")).CreateBucketIfNotExists([]byte("order/" + strconv.Quote(r.Repository) + "/" + r.VM.Name))
		if err != nil {
			return fmt.Errorf("backups/%q: %w", r.ID, err)
		}
		key := func(n uint64) []byte { return append(binary.BigEndian.AppendUint64(nil, n), r.ID...) }
		at := func(verified time.Time) []byte {
			if verified.IsZero() {
				verified = r.EndedAt
			}
			return key(uint64(verified.UnixNano()))
		}
		err = errors.Join(list.Put(key(sequences[r.ID]), []byte{}),
			verified[0].Put(at(r.Verified.At), []byte{}), verified[1].Put(at(r.Verified.DeepAt), []byte{}))
		if err != nil {
			return fmt.Errorf("backups/%q: %w", r.ID, err)
		}
	}
	return nil
}
