package query

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Damage is which restore points are damaged: those with a damaged file, and all that are based on them. It is computed from
// the list of the former and the lists of children. Their keys are enough, so the work depends on the number of damaged restore
// points alone: without any there is none. It is not stored, so nothing must be updated when a file is put back or a chain is
// merged.
type Damage struct {
	transaction int               // that it was computed in
	keys        [][]byte          // ListKey of each, the oldest first
	below       map[string]string // by id: the nearest one with a damaged file in its chain; "" for none
}

// maxChain bounds a walk along parents, which in a damaged database may form a ring.
const maxChain = 10_000

// damage is which restore points are damaged in the state that a transaction reads.
func (r *Reader) damage(t *dbfile.Tx) (*Damage, error) {
	known := r.damages.Load()
	if known != nil && !t.Writable() && known.transaction == t.ID() {
		return known, nil
	}
	d, err := DamageOf(t)
	if err == nil && !t.Writable() {
		r.damages.Store(d)
	}
	return d, err
}

// DamageOf computes which restore points are damaged in the state that a transaction reads.
func DamageOf(t *dbfile.Tx) (*Damage, error) {
	d := &Damage{transaction: t.ID(), below: map[string]string{}}
	list := t.Bucket(schema.BucketLists).Bucket([]byte(schema.ListDamaged))
	if list == nil {
		return d, nil
	}
	roots := map[string]bool{}
	err := list.ForEach(func(k, _ []byte) error {
		if len(k) <= schema.TimeBytes {
			return t.Damaged("list %q: entry of %d bytes", schema.ListDamaged, len(k))
		}
		roots[string(schema.ListID(k))] = true
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

// spread walks from a restore point with a damaged file to all that are based on it, and stops at the next ones with damaged
// files. These are walked separately, so each restore point is visited once.
func (d *Damage) spread(t *dbfile.Tx, root string, roots map[string]bool) error {
	if _, known := d.below[root]; !known {
		d.below[root] = ""
	}
	lists := t.Bucket(schema.BucketLists)
	points := lists.Bucket([]byte(schema.ListState(record.Completed)))
	for next := []string{root}; len(next) > 0; {
		id := next[len(next)-1]
		next = next[:len(next)-1]
		children := lists.Bucket([]byte(schema.ListChildren(id)))
		if children == nil {
			continue
		}
		err := children.ForEach(func(k, _ []byte) error {
			if len(k) <= schema.TimeBytes {
				return t.Damaged("list %q: entry of %d bytes", schema.ListChildren(id), len(k))
			}
			child := string(schema.ListID(k))
			if !schema.Has(points, k) { // active, or being deleted: it has no children
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

// fill sets in a record the damaged restore points that it is based on.
func (d *Damage) fill(b *record.Backup) {
	b.DamageBelow = nil
	for id := d.below[b.ID]; id != "" && len(b.DamageBelow) < maxChain; id = d.below[id] {
		b.DamageBelow = append(b.DamageBelow, id)
	}
}

// Under is the nearest restore point with a damaged file in the chain of another one; "" for none.
func (d *Damage) Under(id string) string { return d.below[id] }

// Has says whether a restore point is damaged.
func (d *Damage) Has(id string) bool {
	_, there := d.below[id]
	return there
}

// FillDamage sets in records that were just read the damaged restore points that they are based on.
func FillDamage(r *Reader, t *dbfile.Tx, list ...*record.Backup) error {
	d, err := r.damage(t)
	if err != nil || len(d.keys) == 0 {
		return err
	}
	for _, b := range list {
		d.fill(b)
	}
	return nil
}

// DamagedPoints is the number of damaged restore points, including those that are only based on a damaged one.
func (r *Reader) DamagedPoints() (n int, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		d, err := r.damage(t)
		if err == nil {
			n = len(d.keys)
		}
		return err
	})
	return n, err
}

// DamagedBy are the restore points that are damaged because they are based on that one, the newest first.
func (r *Reader) DamagedBy(id string) (ids []string, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		d, err := r.damage(t)
		if err != nil || !d.Has(id) {
			return err
		}
		for _, k := range slices.Backward(d.keys) {
			at := string(schema.ListID(k))
			for range maxChain {
				if at = d.below[at]; at == "" || at == id {
					break
				}
			}
			if at == id {
				ids = append(ids, string(schema.ListID(k)))
			}
		}
		return nil
	})
	return ids, err
}

// keys is where the records of a page come from: a list, or an order that was computed.
type keys interface {
	before(key []byte) []byte // moves to the last key below the given one; nil is the end: the last key of all
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
