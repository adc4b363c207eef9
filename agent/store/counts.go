package store

import (
	"bytes"
	"strconv"
	"time"
)

// Counts is how much there is of what is small enough to be counted at any time.
type Counts struct {
	VMs          int
	Active       int // backups
	Restores     int // active ones
	Leases       int // ports of active backups and restores
	CoolingPorts int
	CoolingVMs   int
}

// Counts counts, as of the time now. It walks the VMs and ports, never the backups.
func (s *Store) Counts(now time.Time) (Counts, error) {
	var n Counts
	err := s.view(func(t *tx) error {
		n = Counts{
			VMs:      t.count(bucketVMs),
			Active:   t.count(bucketActive),
			Restores: t.count(bucketActiveRestores),
			Leases:   t.count(bucketLeases),
		}
		for bucket, count := range map[string]*int{
			string(bucketCoolingPorts): &n.CoolingPorts,
			string(bucketCoolingVMs):   &n.CoolingVMs,
		} {
			err := t.eachCooling([]byte(bucket), func(_ []byte, c stamp) error {
				if c.until.After(now) {
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

func (t *tx) count(bucket []byte) int {
	n := 0
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

// Points is how many restore points each repository has. It counts the entries of the lists page by page and reads no
// record: of 100 000 that takes a few milliseconds.
func (s *Store) Points() (map[string]int, error) {
	points := map[string]int{}
	err := s.view(func(t *tx) error {
		prefix, root := []byte("point/"), t.Bucket(bucketLists)
		c := root.Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			quoted, err := strconv.QuotedPrefix(string(k[len(prefix):]))
			if err != nil {
				return t.damaged("list %q: %v", k, err)
			}
			repository, err := strconv.Unquote(quoted)
			if err != nil {
				return t.damaged("list %q: %v", k, err)
			}
			points[repository] += root.Bucket(k).Stats().KeyN
		}
		return nil
	})
	return points, err
}
