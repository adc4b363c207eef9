package query

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Unverified asks for the restore point whose files were checked longest ago.
type Unverified struct {
	Deep       bool // whose files were read whole longest ago
	Now        time.Time
	Repository string               // only those in this repository; "" = every one
	Before     time.Time            // only those that were verified before; zero = every one
	Pass       func(id string) bool // leaves a restore point out; may be nil, and must only compute
}

// LongestUnverified is the restore point that is asked for, and whether there is one. A date in the future at the time Now counts as
// never verified: such restore points come first.
func (r *Reader) LongestUnverified(u Unverified) (b record.Backup, found bool, err error) {
	bucket := schema.BucketVerified
	if u.Deep {
		bucket = schema.BucketVerifiedDeep
	}
	err = r.file.View(func(t *dbfile.Tx) error {
		k, err := u.first(t, bucket)
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

// first is the first key of an order, when keys in the future come before all others.
func (u Unverified) first(t *dbfile.Tx, bucket []byte) ([]byte, error) {
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if len(k) <= schema.TimeBytes {
			return nil, t.Damaged("%s: entry of %d bytes", bucket, len(k))
		}
		if !record.Future(schema.DecodeTime(k), u.Now) {
			break
		}
		if u.wants(t, schema.ListID(k)) {
			return k, nil
		}
	}
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) <= schema.TimeBytes {
			return nil, t.Damaged("%s: entry of %d bytes", bucket, len(k))
		}
		if !u.Before.IsZero() && schema.DecodeTime(k).After(u.Before) {
			break
		}
		if u.wants(t, schema.ListID(k)) {
			return k, nil
		}
	}
	return nil, nil
}

// wants says whether a restore point may be the answer. It reads only the repository of the record.
func (u Unverified) wants(t *dbfile.Tx, id []byte) bool {
	if u.Pass != nil && u.Pass(string(id)) {
		return false
	}
	if u.Repository == "" {
		return true
	}
	var b struct {
		Repository string `json:"repository_id"`
	}
	found, err := schema.Get(t, schema.BucketBackups, id, &b)
	return !found || err != nil || b.Repository == u.Repository // damage is found when the record is loaded
}
