package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// HoldPrune writes down that a prune is held. One that is held already keeps its time.
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

// ReleasePrune writes down that no prune is held, of one that may have been.
func (s *Store) ReleasePrune(g schema.PointGroup) error {
	return s.file.Update(func(t *dbfile.Tx) error {
		if t.Bucket(schema.BucketPruneHeld).Get(schema.HoldKey(g)) == nil {
			return dbfile.ErrUnchanged
		}
		return t.Bucket(schema.BucketPruneHeld).Delete(schema.HoldKey(g))
	})
}

// SetPruned writes down that they were.
func (s *Store) SetPruned(at time.Time) error {
	if err := schema.CheckTime("now", at); err != nil {
		return err
	}
	return s.file.Update(func(t *dbfile.Tx) error {
		return t.Bucket(schema.BucketMeta).Put(schema.KeyPruned, schema.EncodeTime(at))
	})
}
