package store

import (
	"encoding/json"
	"strconv"
	"time"
)

// A Hold is a scheduled prune of one VM in one repository that waits for a person, because it would remove so much at once.
type Hold struct {
	PointGroup
	Removed int       `json:"removed"` // restore points that it would remove
	Points  int       `json:"points"`  // restore points that there are
	Since   time.Time `json:"since"`   // when it was first held
}

func holdKey(g PointGroup) []byte { return []byte(strconv.Quote(g.Repository) + "/" + g.VM) }

// HoldPrune writes down that a prune is held. One that is held already keeps its time.
func (s *Store) HoldPrune(h Hold) error {
	h.Since = stored(h.Since)
	return s.update(func(t *tx) error {
		var before Hold
		held, err := t.get(bucketPruneHeld, holdKey(h.PointGroup), &before)
		if err != nil {
			return err
		}
		if held {
			h.Since = before.Since
		}
		if held && h == before {
			return errUnchanged
		}
		return t.put(bucketPruneHeld, holdKey(h.PointGroup), h)
	})
}

// ReleasePrune writes down that no prune is held, of one that may have been.
func (s *Store) ReleasePrune(g PointGroup) error {
	return s.update(func(t *tx) error {
		if t.Bucket(bucketPruneHeld).Get(holdKey(g)) == nil {
			return errUnchanged
		}
		return t.Bucket(bucketPruneHeld).Delete(holdKey(g))
	})
}

// HeldPrunes returns the prunes that are held, by repository and VM. What has no restore points any more is left out.
func (s *Store) HeldPrunes() (list []Hold, err error) {
	err = s.view(func(t *tx) error {
		return t.Bucket(bucketPruneHeld).ForEach(func(key, value []byte) error {
			var h Hold
			if err := json.Unmarshal(value, &h); err != nil {
				return t.damaged("%s/%q: %v", bucketPruneHeld, key, err)
			}
			if t.Bucket(bucketLists).Bucket([]byte(listPoints(h.Repository, h.VM))) != nil {
				list = append(list, h)
			}
			return nil
		})
	})
	return list, err
}
