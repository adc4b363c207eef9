package schema

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// Restore loads a record that must exist.
func Restore(t *dbfile.Tx, id string) (record.Restore, error) {
	var r record.Restore
	ok, err := Get(t, BucketRestores, []byte(id), &r)
	if err == nil && !ok {
		err = &NotFoundError{Kind: KindRestore, Name: id}
	}
	return r, err
}

// Restores loads every restore, the newest first.
func Restores(t *dbfile.Tx) ([]record.Restore, error) {
	var list []record.Restore
	err := t.Bucket(BucketRestores).ForEach(func(k, v []byte) error {
		var r record.Restore
		err := Decode(t, BucketRestores, k, v, &r)
		list = append(list, r)
		return err
	})
	slices.SortStableFunc(list, func(x, y record.Restore) int { return y.CreatedAt.Compare(x.CreatedAt) })
	return list, err
}

// ActiveRestores loads every active restore, ordered by id.
func ActiveRestores(t *dbfile.Tx) ([]record.Restore, error) {
	var active []record.Restore
	err := t.Bucket(BucketActiveRestores).ForEach(func(k, _ []byte) error {
		var r record.Restore
		ok, err := Get(t, BucketRestores, k, &r)
		if err == nil && !ok {
			err = t.Damaged("%s/%q: has no record", BucketActiveRestores, k)
		}
		active = append(active, r)
		return err
	})
	return active, err
}

// CloneRestore is a deep copy, as the record is read back.
func CloneRestore(r record.Restore) (record.Restore, error) {
	var c record.Restore
	encoded, err := json.Marshal(r)
	if err != nil {
		return c, fmt.Errorf("restore %s: %w", r.ID, err)
	}
	return c, json.Unmarshal(encoded, &c)
}
