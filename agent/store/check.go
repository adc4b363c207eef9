package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
)

// Check reads the whole database and returns an error that wraps ErrDamaged and names what is wrong: in bbolt's own
// structure, in a record, or between records and indexes (every lease has its active backup and every active backup
// its leases, one active backup per VM, each record in its lists and in no other). Writers wait meanwhile. bbolt's part
// of the work does not stop when ctx ends. Where there is nothing wrong but leases that no active backup has, the error is
// a *StrayError instead: ReturnStray gives them back.
func (s *Store) Check(ctx context.Context) error {
	return s.check(ctx, s.update) // writable, as bbolt's check wants nobody else to write
}

func (s *Store) check(ctx context.Context, transact func(func(*tx) error) error) error {
	c := &checker{ctx: ctx}
	err := transact(func(t *tx) error {
		if err := withPages(s.path, s.db.Info().PageSize, (*pages).check); err != nil {
			return err
		}
		if !s.harm.any() { // bbolt's check ends the process, or nearly, at such a header
			for err := range t.Check() {
				c.report("%v", err)
			}
		}
		c.tx = t
		if len(c.problems) > 0 {
			return errUnchanged // a broken tree is not walked
		}
		for _, step := range []func() error{
			c.checkVMs, c.checkBackups, c.checkRestores, c.checkLists, c.checkLeases, c.checkTotals, c.checkCooling,
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return errUnchanged
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return err
	}
	if len(c.problems) > 0 {
		return damaged(s.path, strings.Join(c.problems, "; "))
	}
	if len(c.strays) > 0 {
		return &StrayError{Leases: c.strays}
	}
	return nil
}

// maxProblems bounds the length of Check's error.
const maxProblems = 20

// A checker compares the records with everything that hangs on them.
type checker struct {
	*tx
	ctx      context.Context
	problems []string
	listed   map[string]int // records that belong in each list
	totals   map[string]int // entries that belong in each index
	strays   []record.Lease // leases that no active backup has
}

func (c *checker) report(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// each walks a bucket until the context ends.
func (c *checker) each(b *bolt.Bucket, f func(k, v []byte)) error {
	return b.ForEach(func(k, v []byte) error {
		f(k, v)
		return c.ctx.Err()
	})
}

func (c *checker) checkVMs() error {
	return c.each(c.Bucket(bucketVMs), func(k, v []byte) {
		var vm record.VM
		if err := c.decode(bucketVMs, k, v, &vm); err != nil {
			c.report("%v", err)
		} else if err := vm.Validate(); err != nil || vm.Name != string(k) {
			c.report("vms/%q: holds vm %q: %v", k, vm.Name, err)
		}
	})
}

func (c *checker) checkBackups() error {
	c.listed, c.totals = map[string]int{}, map[string]int{}
	return c.each(c.Bucket(bucketBackups), func(k, v []byte) {
		var b record.Backup
		if err := c.decode(bucketBackups, k, v, &b); err != nil {
			c.report("%v", err)
			return
		}
		if b.ID != string(k) || !slices.Contains(record.States, b.State) {
			c.report("backups/%q: holds backup %q, state %q", k, b.ID, b.State)
		}
		if c.Bucket(bucketRemoved).Get(k) != nil {
			c.report("backup %s: is on record and removed", k)
		}
		for _, name := range lists(b) {
			c.listed[name]++
			if list := c.Bucket(bucketLists).Bucket([]byte(name)); list == nil || !has(list, listKey(name, b)) {
				c.report("backup %s: not in list %q", k, name)
			}
		}
		if last := c.Bucket(bucketBackups).Sequence(); b.Sequence > last {
			c.report("backup %s: has the sequence %d, the last that was given is %d", k, b.Sequence, last)
		}
		c.checkVerified(b)
		if b.RequestID != "" {
			c.entry(bucketRequests, b.RequestID, b)
		}
		if b.State.Active() {
			c.checkHoldings(b)
		}
	})
}

// checkHoldings looks for what an active backup must hold.
func (c *checker) checkHoldings(b record.Backup) {
	c.entry(bucketActive, b.VM.Name, b)
	if err := c.checkParent(b); err != nil {
		c.report("backup %s: %v", b.ID, err)
	}
	for _, key := range claims(b) {
		c.entry(bucketClaims, key, b)
	}
	for _, run := range b.Runs {
		c.totals[string(bucketLeases)]++
		var l record.Lease
		ok, err := c.get(bucketLeases, encodePort(run.Port), &l)
		if err != nil || !ok || l.BackupID != b.ID || l.DiskID != run.DiskID || l.Port != run.Port ||
			!strings.Contains(run.Unit, l.Nonce) {
			c.report("backup %s: disk %d: port %d: lease %+v, error %v", b.ID, run.DiskID, run.Port, l, err)
		}
	}
}

// entry looks for the entry of a record in an index by one key, and counts it.
func (c *checker) entry(bucket []byte, key string, b record.Backup) {
	c.totals[string(bucket)]++
	if id := c.Bucket(bucket).Get([]byte(key)); string(id) != b.ID {
		c.report("backup %s: %s/%q names %q", b.ID, bucket, key, id)
	}
}

// checkLists counts: every record is in its lists, so a list that is too long has entries of no record.
func (c *checker) checkLists() error {
	root := c.Bucket(bucketLists)
	return c.each(root, func(name, _ []byte) {
		list := root.Bucket(name)
		if list == nil {
			c.report("lists/%q: not a list", name)
			return
		}
		n := 0
		if err := c.each(list, func(_, _ []byte) { n++ }); err == nil && (n != c.listed[string(name)] || n == 0) {
			c.report("list %q: %d entries for %d records", name, n, c.listed[string(name)])
		}
	})
}

// checkLeases looks for leases that no active backup or restore has.
func (c *checker) checkLeases() error {
	return c.each(c.Bucket(bucketLeases), func(k, v []byte) {
		var l record.Lease
		if err := c.decode(bucketLeases, k, v, &l); err != nil {
			c.report("%v", err)
		} else if stray, err := c.stray(l); err != nil {
			c.report("%v", err)
		} else if stray {
			c.strays = append(c.strays, l)
			c.totals[string(bucketLeases)]++
		}
	})
}

// checkTotals counts, for the same reason, what belongs to no record in the other indexes.
func (c *checker) checkTotals() error {
	for _, bucket := range [][]byte{bucketActive, bucketActiveRestores, bucketLeases, bucketClaims, bucketRequests, bucketVerified, bucketVerifiedDeep} {
		if n := c.count(bucket); n != c.totals[string(bucket)] {
			c.report("%s: %d entries where the records have %d", bucket, n, c.totals[string(bucket)])
		}
	}
	return c.ctx.Err()
}

// checkCooling looks that nothing is in use that is cooling down, and that only ended backups let things cool.
func (c *checker) checkCooling() error {
	for _, pair := range []struct{ cooling, used []byte }{
		{bucketCoolingPorts, bucketLeases},
		{bucketCoolingVMs, bucketActive},
	} {
		err := c.eachCooling(pair.cooling, func(key []byte, s stamp) error {
			if c.Bucket(pair.used).Get(key) != nil {
				c.report("%s/%x: also in %s", pair.cooling, key, pair.used)
			}
			if b, err := c.backup(s.backupID); err == nil && b.State.Active() {
				c.report("%s/%x: backup %s is %s", pair.cooling, key, b.ID, b.State)
			}
			return c.ctx.Err()
		})
		if errors.Is(err, ErrDamaged) {
			c.report("%v", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// has says whether a bucket has a key, whose value may be empty.
func has(b *bolt.Bucket, key []byte) bool {
	k, _ := b.Cursor().Seek(key)
	return bytes.Equal(k, key)
}
