package store

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
)

// A damage is which restore points are damaged: those with a damaged file, and all that stand on them. It is computed from the list of
// the former and the lists of children, of which the keys suffice: the work is that of the damaged ones alone, and where there are none
// there is none. No copy of it is stored, so that nothing has to follow when a file is put back or a chain is merged.
type damage struct {
	transaction int               // whose state it is
	keys        [][]byte          // listKey of each, the oldest first
	below       map[string]string // of each id: the nearest one with a damaged file that it stands on; "" for none
}

// maxChain bounds a walk along parents in a database in which they form a ring.
const maxChain = 10_000

// damage is which restore points are damaged in the state that a transaction sees.
func (s *Store) damage(t *tx) (*damage, error) {
	known := s.damages.Load()
	if known != nil && !t.Writable() && known.transaction == t.ID() {
		return known, nil
	}
	d, err := t.damageOf()
	if err == nil && !t.Writable() {
		s.damages.Store(d)
	}
	return d, err
}

func (t *tx) damageOf() (*damage, error) {
	d := &damage{transaction: t.ID(), below: map[string]string{}}
	list := t.Bucket(bucketLists).Bucket([]byte(listDamaged))
	if list == nil {
		return d, nil
	}
	roots := map[string]bool{}
	err := list.ForEach(func(k, _ []byte) error {
		if len(k) <= timeBytes {
			return t.damaged("list %q: entry of %d bytes", listDamaged, len(k))
		}
		roots[string(listID(k))] = true
		d.keys = append(d.keys, bytes.Clone(k))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id := range roots {
		if err := d.spread(t, id, roots); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(d.keys, bytes.Compare)
	return d, nil
}

// spread goes from a restore point with a damaged file to those that stand on it, as far as the next ones with damaged files: these
// spread by themselves, so that each restore point is visited once.
func (d *damage) spread(t *tx, root string, roots map[string]bool) error {
	if _, known := d.below[root]; !known {
		d.below[root] = ""
	}
	lists := t.Bucket(bucketLists)
	points := lists.Bucket([]byte(listState(record.Completed)))
	for next := []string{root}; len(next) > 0; {
		id := next[len(next)-1]
		next = next[:len(next)-1]
		children := lists.Bucket([]byte(listChildren(id)))
		if children == nil {
			continue
		}
		err := children.ForEach(func(k, _ []byte) error {
			if len(k) <= timeBytes {
				return t.damaged("list %q: entry of %d bytes", listChildren(id), len(k))
			}
			child := string(listID(k))
			if !has(points, k) { // active, or being deleted: nothing stands on it
				return nil
			}
			if _, known := d.below[child]; known && !roots[child] {
				return nil
			}
			d.below[child] = root
			if !roots[child] {
				d.keys = append(d.keys, bytes.Clone(k))
				next = append(next, child)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fill says in a record on which damaged restore points it stands.
func (d *damage) fill(b *record.Backup) {
	b.DamageBelow = nil
	for id := d.below[b.ID]; id != "" && len(b.DamageBelow) < maxChain; id = d.below[id] {
		b.DamageBelow = append(b.DamageBelow, id)
	}
}

// has says whether a restore point is one of them.
func (d *damage) has(id string) bool {
	_, there := d.below[id]
	return there
}

// inherit fills in records that were just read.
func (s *Store) inherit(t *tx, list ...*record.Backup) error {
	d, err := s.damage(t)
	if err != nil || len(d.keys) == 0 {
		return err
	}
	for _, b := range list {
		d.fill(b)
	}
	return nil
}

// DamagedPoints is how many restore points are damaged, be it by what they stand on.
func (s *Store) DamagedPoints() (n int, err error) {
	err = s.view(func(t *tx) error {
		d, err := s.damage(t)
		if err == nil {
			n = len(d.keys)
		}
		return err
	})
	return n, err
}

// DamagedBy are the restore points that are damaged because they stand on that one, the newest first.
func (s *Store) DamagedBy(id string) (ids []string, err error) {
	err = s.view(func(t *tx) error {
		d, err := s.damage(t)
		if err != nil || !d.has(id) {
			return err
		}
		for _, k := range slices.Backward(d.keys) {
			at := string(listID(k))
			for range maxChain {
				if at = d.below[at]; at == "" || at == id {
					break
				}
			}
			if at == id {
				ids = append(ids, string(listID(k)))
			}
		}
		return nil
	})
	return ids, err
}

// checkSound returns a *DamagedError when a restore point, or anything that it stands on, is damaged.
func (t *tx) checkSound(id string) error {
	if id == "" {
		return nil
	}
	d, err := t.damageOf()
	if err != nil || !d.has(id) {
		return err
	}
	by := id
	if b, err := t.backup(id); err == nil && len(b.Damage()) == 0 {
		by = d.below[id]
	}
	return &DamagedError{BackupID: id, By: by}
}

// A keys is what a page of records is read from: a list, or an order that was computed.
type keys interface {
	before(key []byte) []byte // moves to the last key below the given one; nil is the end, and below nil is the last of all
	prev() []byte
}

type listKeys struct{ cursor *bolt.Cursor }

func (l listKeys) before(key []byte) []byte { return lastBefore(l.cursor, key) }

func (l listKeys) prev() []byte {
	k, _ := l.cursor.Prev()
	return k
}

type sortedKeys struct {
	keys [][]byte
	at   int
}

func (s *sortedKeys) before(key []byte) []byte {
	s.at = len(s.keys)
	if key != nil {
		s.at, _ = slices.BinarySearchFunc(s.keys, key, bytes.Compare)
	}
	return s.prev()
}

func (s *sortedKeys) prev() []byte {
	if s.at--; s.at < 0 {
		return nil
	}
	return s.keys[s.at]
}
