package check

import (
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// checkRestores checks that every restore on record is what its key says, and that an active one has its leases and its restore
// points.
func (c *checker) checkRestores() error {
	return c.each(c.Bucket(schema.BucketRestores), func(k, v []byte) {
		var r record.Restore
		if err := schema.Decode(c.Tx, schema.BucketRestores, k, v, &r); err != nil {
			c.report("%v", err)
			return
		}
		if r.ID != string(k) || !slices.Contains(record.RestoreStates, r.State) {
			c.report("restores/%q: holds restore %q, state %q", k, r.ID, r.State)
		}
		if !r.State.Active() {
			return
		}
		c.totals[string(schema.BucketActiveRestores)]++
		if !schema.Has(c.Bucket(schema.BucketActiveRestores), k) {
			c.report("restore %s: is %s, and not in active_restores", r.ID, r.State)
		}
		for _, id := range r.Points {
			if b, err := schema.Backup(c.Tx, id); err != nil || b.State != record.Completed {
				c.report("restore %s: reads backup %s, which is %q: %v", r.ID, id, b.State, err)
			}
		}
		c.checkRestoreLeases(r)
	})
}

func (c *checker) checkRestoreLeases(r record.Restore) {
	for _, d := range r.Disks {
		c.totals[string(schema.BucketLeases)]++
		var l record.Lease
		ok, err := schema.Get(c.Tx, schema.BucketLeases, schema.EncodePort(d.Port), &l)
		if err != nil || !ok || l.Owner() != r.ID || l.DiskID != d.DiskID || l.Port != d.Port || !strings.Contains(d.Unit, l.Nonce) {
			c.report("restore %s: disk %d: port %d: lease %+v, error %v", r.ID, d.DiskID, d.Port, l, err)
		}
	}
}
