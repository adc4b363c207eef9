package query

import (
	"encoding/json"
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// HeldPrunes returns the held prunes, ordered by repository and VM. It leaves out a VM without restore points.
func (r *Reader) HeldPrunes() (list []schema.Hold, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		return t.Bucket(schema.BucketPruneHeld).ForEach(func(key, value []byte) error {
			var h schema.Hold
			if err := json.Unmarshal(value, &h); err != nil {
				return t.Damaged("%s/%q: %v", schema.BucketPruneHeld, key, err)
			}
			if t.Bucket(schema.BucketLists).Bucket([]byte(schema.ListPoints(h.Repository, h.VM))) != nil {
				list = append(list, h)
			}
			return nil
		})
	})
	return list, err
}

// Pruned is when the policies were last applied to all restore points; zero for never.
func (r *Reader) Pruned() (at time.Time, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		if v := t.Bucket(schema.BucketMeta).Get(schema.KeyPruned); len(v) == schema.TimeBytes {
			at = schema.DecodeTime(v)
		}
		return nil
	})
	return at, err
}
