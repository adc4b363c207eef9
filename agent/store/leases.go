package store

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// A PortChooser picks n different ports that are not taken, the first ones after the port after; 0 is the start of the range.
// It returns all n or an error, and must not use the Store.
type PortChooser func(after uint16, taken func(uint16) bool, n int) ([]uint16, error)

// choosePorts has the chooser pick n ports after the cursor, checks them, and moves the cursor. Call dropCooled before it.
func choosePorts(t *dbfile.Tx, choose PortChooser, n int) ([]uint16, error) {
	taken := func(port uint16) bool {
		key := schema.EncodePort(port)
		return t.Bucket(schema.BucketLeases).Get(key) != nil || t.Bucket(schema.BucketCoolingPorts).Get(key) != nil
	}
	var after uint16
	if v := t.Bucket(schema.BucketMeta).Get(schema.KeyPortCursor); len(v) == 2 {
		after = schema.DecodePort(v)
	}
	var ports []uint16
	var err error
	t.Call(func() { ports, err = choose(after, taken, n) })
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
	return ports, t.Bucket(schema.BucketMeta).Put(schema.KeyPortCursor, schema.EncodePort(ports[n-1]))
}

// writeLease writes the lease of one disk of a backup or a restore, with a new nonce.
func writeLease(t *dbfile.Tx, l record.Lease) (record.Lease, error) {
	l.Nonce = newNonce()
	return l, schema.Put(t, schema.BucketLeases, schema.EncodePort(l.Port), l)
}

// returnLease deletes the lease of a port that the backup or restore holds.
func returnLease(t *dbfile.Tx, port uint16, owner string) error {
	var l record.Lease
	ok, err := schema.Get(t, schema.BucketLeases, schema.EncodePort(port), &l)
	if err != nil {
		return err
	}
	if !ok || l.Owner() != owner {
		return t.Damaged("port %d: not leased by %s", port, owner)
	}
	return t.Bucket(schema.BucketLeases).Delete(schema.EncodePort(port))
}

// ReturnStray deletes a lease that no active backup or restore has. It leaves any other lease.
func (s *Store) ReturnStray(l record.Lease) error {
	return s.file.Update(func(t *dbfile.Tx) error {
		var now record.Lease
		ok, err := schema.Get(t, schema.BucketLeases, schema.EncodePort(l.Port), &now)
		if err != nil {
			return err
		}
		if !ok || now.Owner() != l.Owner() || now.Nonce != l.Nonce {
			return dbfile.ErrUnchanged
		}
		stray, err := rules.Stray(t, now)
		if err != nil {
			return err
		}
		if !stray {
			return dbfile.ErrUnchanged
		}
		return t.Bucket(schema.BucketLeases).Delete(schema.EncodePort(l.Port))
	})
}

// newNonce is 8 random hexadecimal digits: an earlier lease is unlikely to have had them.
func newNonce() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
