package store

import "time"

// Counts is how much there is of what is small enough to be counted at any time.
type Counts struct {
	VMs          int
	Active       int // backups
	Leases       int // ports of active backups
	CoolingPorts int
	CoolingVMs   int
}

// Counts counts, as of the time now. It walks the VMs and ports, never the backups.
func (s *Store) Counts(now time.Time) (Counts, error) {
	var n Counts
	err := s.view(func(t *tx) error {
		n = Counts{
			VMs:    t.count(bucketVMs),
			Active: t.count(bucketActive),
			Leases: t.count(bucketLeases),
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
