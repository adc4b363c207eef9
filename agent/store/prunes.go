package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// HoldPrune records that a prune is held. A prune that is held already keeps its time.
func (s *Store) HoldPrune(h schema.Hold) error {
	h.Since = schema.Stored(h.Since)
	return s.file.Update(func(t *dbfile.Tx) error {
		var before schema.Hold
		held, err := schema.Get(t, schema.BucketPruneHeld, schema.HoldKey(h.PointGroup), &before)
		if err != nil {
			return err
		}
		if held {
			h.Since = before.Since
		}
		if held && h == before {
			return dbfile.ErrUnchanged
		}
		return schema.Put(t, schema.BucketPruneHeld, schema.HoldKey(h.PointGroup), h)
	})
}

// ReleasePrune records that the prune of a group is not held, whether it was or not.
func (s *Store) ReleasePrune(g schema.PointGroup) error {
	return s.file.Update(func(t *dbfile.Tx) error {
		if t.Bucket(schema.BucketPruneHeld).Get(schema.HoldKey(g)) == nil {
			return dbfile.ErrUnchanged
		}
		return t.Bucket(schema.BucketPruneHeld).Delete(schema.HoldKey(g))
	})
}

// SetPruned records when the policies were applied to all restore points.
func (s *Store) SetPruned(at time.Time) error {
	if err := schema.CheckTime("now", at); err != nil {
		return err
	}
	return s.file.Update(func(t *dbfile.Tx) error {
		return t.Bucket(schema.BucketMeta).Put(schema.KeyPruned, schema.EncodeTime(at))
	})
}
