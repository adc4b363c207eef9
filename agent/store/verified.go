package store

import (
	"bytes"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
)

// verifiedKeys are the places of a record in the two orders of verification; none for what is no restore point.
func verifiedKeys(b *record.Backup) (shallow, deep []byte) {
	if b == nil || b.State != record.Completed {
		return nil, nil
	}
	key := func(deep bool) []byte { return append(encodeTime(b.VerifiedAt(deep)), b.ID...) }
	return key(false), key(true)
}

// orderVerified moves a record to the places in the orders that it has now.
func (t *tx) orderVerified(before, after *record.Backup) error {
	fromShallow, fromDeep := verifiedKeys(before)
	toShallow, toDeep := verifiedKeys(after)
	if err := move(t.Bucket(bucketVerified), fromShallow, toShallow); err != nil {
		return err
	}
	return move(t.Bucket(bucketVerifiedDeep), fromDeep, toDeep)
}

func move(order *bolt.Bucket, from, to []byte) error {
	if bytes.Equal(from, to) {
		return nil
	}
	if from != nil {
		if err := order.Delete(from); err != nil {
			return err
		}
	}
	if to == nil {
		return nil
	}
	return order.Put(to, []byte{})
}

// LongestUnverified is the restore point whose files were looked at, or read whole, longest ago, of those that pass does not
// pass over, and whether there is one. A date in the future as of now is none: such restore points come first, as never
// verified. pass, which may be nil, is called with ids, and must only compute.
func (s *Store) LongestUnverified(deep bool, now time.Time, pass func(id string) bool) (b record.Backup, found bool, err error) {
	bucket := bucketVerified
	if deep {
		bucket = bucketVerifiedDeep
	}
	err = s.view(func(t *tx) error {
		k, err := t.longestUnverified(bucket, now, pass)
		if k == nil || err != nil {
			return err
		}
		if b, err = t.indexed(bucket, k, listID(k)); err != nil {
			return err
		}
		found = true
		return s.inherit(t, &b)
	})
	return b, found, err
}

// longestUnverified is the entry in an order that is first when what lies in the future comes before everything else.
func (t *tx) longestUnverified(bucket []byte, now time.Time, pass func(id string) bool) ([]byte, error) {
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if len(k) <= timeBytes {
			return nil, t.damaged("%s: entry of %d bytes", bucket, len(k))
		}
		if !record.Future(decodeTime(k), now) {
			break
		}
		if pass == nil || !pass(string(listID(k))) {
			return k, nil
		}
	}
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) <= timeBytes {
			return nil, t.damaged("%s: entry of %d bytes", bucket, len(k))
		}
		if pass == nil || !pass(string(listID(k))) {
			return k, nil
		}
	}
	return nil, nil
}

// checkVerified looks that a restore point is in both orders, where it belongs.
func (c *checker) checkVerified(b record.Backup) {
	shallow, deep := verifiedKeys(&b)
	for bucket, key := range map[string][]byte{string(bucketVerified): shallow, string(bucketVerifiedDeep): deep} {
		if key == nil {
			continue
		}
		c.totals[bucket]++
		if !has(c.Bucket([]byte(bucket)), key) {
			c.report("backup %s: not in %s, where it belongs", b.ID, bucket)
		}
	}
}
