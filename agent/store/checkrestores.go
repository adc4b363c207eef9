package store

import (
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// checkRestores looks that every restore on record is what its key says, and that an active one has its leases and pins
// restore points that are there.
func (c *checker) checkRestores() error {
	return c.each(c.Bucket(bucketRestores), func(k, v []byte) {
		var r record.Restore
		if err := c.decode(bucketRestores, k, v, &r); err != nil {
			c.report("%v", err)
			return
		}
		if r.ID != string(k) || !slices.Contains(record.RestoreStates, r.State) {
			c.report("restores/%q: holds restore %q, state %q", k, r.ID, r.State)
		}
		if !r.State.Active() {
			return
		}
		c.totals[string(bucketActiveRestores)]++
		if !has(c.Bucket(bucketActiveRestores), k) {
			c.report("restore %s: is %s, and not in active_restores", r.ID, r.State)
		}
		for _, id := range r.Points {
			if b, err := c.backup(id); err != nil || b.State != record.Completed {
				c.report("restore %s: reads backup %s, which is %q: %v", r.ID, id, b.State, err)
			}
		}
		c.checkRestoreLeases(r)
	})
}

func (c *checker) checkRestoreLeases(r record.Restore) {
	for _, d := range r.Disks {
		c.totals[string(bucketLeases)]++
		var l record.Lease
		ok, err := c.get(bucketLeases, encodePort(d.Port), &l)
		if err != nil || !ok || l.Owner() != r.ID || l.DiskID != d.DiskID || l.Port != d.Port || !strings.Contains(d.Unit, l.Nonce) {
			c.report("restore %s: disk %d: port %d: lease %+v, error %v", r.ID, d.DiskID, d.Port, l, err)
		}
	}
}
