package query

import (
	"bytes"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Counts is the numbers of what there is little of, so that it can be counted at any time.
type Counts struct {
	VMs          int
	Active       int // backups
	Restores     int // active ones
	Leases       int // ports of active backups and restores
	CoolingPorts int
	CoolingVMs   int
}

// Counts counts at the time now. It reads VMs and ports, never the backups.
func (r *Reader) Counts(now time.Time) (Counts, error) {
	var n Counts
	err := r.file.View(func(t *dbfile.Tx) error {
		n = Counts{
			VMs:      schema.Count(t, schema.BucketVMs),
			Active:   schema.Count(t, schema.BucketActive),
			Restores: schema.Count(t, schema.BucketActiveRestores),
			Leases:   schema.Count(t, schema.BucketLeases),
		}
		for bucket, count := range map[string]*int{
			string(schema.BucketCoolingPorts): &n.CoolingPorts,
			string(schema.BucketCoolingVMs):   &n.CoolingVMs,
		} {
			err := schema.EachCooling(t, []byte(bucket), func(_ []byte, c schema.Stamp) error {
				if c.Until.After(now) {
					*count++
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Points is the number of restore points of each repository. It counts the entries of the lists page by page and reads no
// record: 100 000 restore points take a few milliseconds.
func (r *Reader) Points() (map[string]int, error) {
	points := map[string]int{}
	err := r.file.View(func(t *dbfile.Tx) error {
		prefix, root := []byte("point/"), t.Bucket(schema.BucketLists)
		c := root.Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			quoted, err := strconv.QuotedPrefix(string(k[len(prefix):]))
			if err != nil {
				return t.Damaged("list %q: %v", k, err)
			}
			repository, err := strconv.Unquote(quoted)
			if err != nil {
				return t.Damaged("list %q: %v", k, err)
			}
			points[repository] += root.Bucket(k).Stats().KeyN
		}
		return nil
	})
	return points, err
}
