package query

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// LongestUnverified is the restore point whose files were checked, or with deep read whole, longest ago, and whether there is
// one. It leaves out those for whose ids pass returns true; pass may be nil and must only compute. A date in the future at the
// time now counts as never verified: such restore points come first.
func (r *Reader) LongestUnverified(deep bool, now time.Time, pass func(id string) bool) (b record.Backup, found bool, err error) {
	bucket := schema.BucketVerified
	if deep {
		bucket = schema.BucketVerifiedDeep
	}
	err = r.file.View(func(t *dbfile.Tx) error {
		k, err := longestUnverified(t, bucket, now, pass)
		if k == nil || err != nil {
			return err
		}
		if b, err = schema.Indexed(t, bucket, k, schema.ListID(k)); err != nil {
			return err
		}
		found = true
		return FillDamage(r, t, &b)
	})
	return b, found, err
}

// longestUnverified is the first key of an order, when keys in the future come before all others.
func longestUnverified(t *dbfile.Tx, bucket []byte, now time.Time, pass func(id string) bool) ([]byte, error) {
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if len(k) <= schema.TimeBytes {
			return nil, t.Damaged("%s: entry of %d bytes", bucket, len(k))
		}
		if !record.Future(schema.DecodeTime(k), now) {
			break
		}
		if pass == nil || !pass(string(schema.ListID(k))) {
			return k, nil
		}
	}
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) <= schema.TimeBytes {
			return nil, t.Damaged("%s: entry of %d bytes", bucket, len(k))
		}
		if pass == nil || !pass(string(schema.ListID(k))) {
			return k, nil
		}
	}
	return nil, nil
}
