package store

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
)

// A PortChooser picks n different ports that are not taken, going on behind the port after; 0 is the start of the
// range. It gives all n or an error, and must not use the Store.
type PortChooser func(after uint16, taken func(uint16) bool, n int) ([]uint16, error)

// Leases returns every lease, in the order of the ports.
func (s *Store) Leases() ([]backup.Lease, error) {
	var leases []backup.Lease
	err := s.view(func(t *tx) error {
		return t.Bucket(bucketLeases).ForEach(func(k, v []byte) error {
			var l backup.Lease
			err := t.decode(bucketLeases, k, v, &l)
			leases = append(leases, l)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return leases, nil
}

// choosePorts has the chooser pick n ports behind the cursor, holds it to what it promises, and moves the cursor.
// Cooling entries that have run out must be gone.
func (t *tx) choosePorts(choose PortChooser, n int) ([]uint16, error) {
	taken := func(port uint16) bool {
		key := encodePort(port)
		return t.Bucket(bucketLeases).Get(key) != nil || t.Bucket(bucketCoolingPorts).Get(key) != nil
	}
	var after uint16
	if v := t.Bucket(bucketMeta).Get(keyPortCursor); len(v) == 2 {
		after = decodePort(v)
	}
	var ports []uint16
	var err error
	t.call(func() { ports, err = choose(after, taken, n) })
	if err != nil {
		return nil, err
	}
	if len(ports) != n || n == 0 {
		return nil, fmt.Errorf("choosing ports: %d chosen, %d needed", len(ports), n)
	}
	seen := map[uint16]bool{}
	for _, port := range ports {
		if port == 0 || seen[port] || taken(port) {
			return nil, fmt.Errorf("choosing ports: port %d is taken", port)
		}
		seen[port] = true
	}
	return ports, t.Bucket(bucketMeta).Put(keyPortCursor, encodePort(ports[n-1]))
}

// lease writes the lease of a disk on a port, with a fresh nonce.
func (t *tx) lease(port uint16, backupID string, diskID int, now time.Time) (backup.Lease, error) {
	l := backup.Lease{Port: port, BackupID: backupID, DiskID: diskID, Nonce: newNonce(), LeasedAt: now}
	return l, t.put(bucketLeases, encodePort(port), l)
}

// returnLease deletes the lease of a disk, if the backup is still the one that holds it.
func (t *tx) returnLease(port uint16, backupID string) error {
	var l backup.Lease
	ok, err := t.get(bucketLeases, encodePort(port), &l)
	if err != nil {
		return err
	}
	if !ok || l.BackupID != backupID {
		return t.damaged("port %d: not leased by backup %s", port, backupID)
	}
	return t.Bucket(bucketLeases).Delete(encodePort(port))
}

// newNonce is 8 hexadecimal digits that no earlier lease is likely to have had.
func newNonce() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
