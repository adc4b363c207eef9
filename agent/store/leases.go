package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// A PortChooser picks n different ports that are not taken, going on behind the port after; 0 is the start of the
// range. It gives all n or an error, and must not use the Store.
type PortChooser func(after uint16, taken func(uint16) bool, n int) ([]uint16, error)

// Leases returns every lease, in the order of the ports.
func (s *Store) Leases() ([]record.Lease, error) {
	var leases []record.Lease
	err := s.view(func(t *tx) error {
		return t.Bucket(bucketLeases).ForEach(func(k, v []byte) error {
			var l record.Lease
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

// lease writes the lease of a backup's or a restore's disk on a port, with a fresh nonce.
func (t *tx) lease(l record.Lease) (record.Lease, error) {
	l.Nonce = newNonce()
	return l, t.put(bucketLeases, encodePort(l.Port), l)
}

// returnLease deletes the lease of a disk, if the backup or restore is still the one that holds it.
func (t *tx) returnLease(port uint16, owner string) error {
	var l record.Lease
	ok, err := t.get(bucketLeases, encodePort(port), &l)
	if err != nil {
		return err
	}
	if !ok || l.Owner() != owner {
		return t.damaged("port %d: not leased by %s", port, owner)
	}
	return t.Bucket(bucketLeases).Delete(encodePort(port))
}

// ReturnStray deletes a lease that no active backup or restore has. Any other stays.
func (s *Store) ReturnStray(l record.Lease) error {
	return s.update(func(t *tx) error {
		var now record.Lease
		ok, err := t.get(bucketLeases, encodePort(l.Port), &now)
		if err != nil {
			return err
		}
		if !ok || now.Owner() != l.Owner() || now.Nonce != l.Nonce {
			return errUnchanged
		}
		stray, err := t.stray(now)
		if err != nil {
			return err
		}
		if !stray {
			return errUnchanged
		}
		return t.Bucket(bucketLeases).Delete(encodePort(l.Port))
	})
}

// stray says whether no active backup or restore has a lease.
func (t *tx) stray(l record.Lease) (bool, error) {
	held, err := t.holds(l)
	var missing *NotFoundError
	if errors.As(err, &missing) {
		return true, nil
	}
	return err == nil && !held, err
}

// holds says whether the backup or restore that a lease names is active, and has it on record.
func (t *tx) holds(l record.Lease) (bool, error) {
	if l.RestoreID != "" {
		r, err := t.restore(l.RestoreID)
		d := r.Disk(l.DiskID)
		return err == nil && r.State.Active() && d != nil && d.Port == l.Port && strings.Contains(d.Unit, l.Nonce), err
	}
	b, err := t.backup(l.BackupID)
	run := b.Run(l.DiskID)
	return err == nil && b.State.Active() && run != nil && run.Port == l.Port && strings.Contains(run.Unit, l.Nonce), err
}

// newNonce is 8 hexadecimal digits that no earlier lease is likely to have had.
func newNonce() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
