package query

import (
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"

	"github.com/sendense/backup-agent/agent/record"
)

// LongestUnverified is the restore point whose files were looked at, or read whole, longest ago, of those that pass does not
// pass over, and whether there is one. A date in the future as of now is none: such restore points come first, as never
// verified. pass, which may be nil, is called with ids, and must only compute.
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

// longestUnverified is the entry in an order that is first when what lies in the future comes before everything else.
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
