// Package check reads a whole database and compares the records with everything that follows from them: lists, leases, claims. It repairs
// nothing.
package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Run checks everything in a file, in one transaction that transact runs. See store.Check.
func Run(ctx context.Context, f *dbfile.File, transact func(func(*dbfile.Tx) error) error) error {
	c := &checker{ctx: ctx}
	err := transact(func(t *dbfile.Tx) error {
		if err := f.CheckPages(t, func(err error) { c.report("%v", err) }); err != nil {
			return err
		}
		c.Tx = t
		if len(c.problems) > 0 {
			return dbfile.ErrUnchanged // a damaged tree is not walked
		}
		for _, step := range []func() error{
			c.checkVMs, c.checkBackups, c.checkRestores, c.checkRuns, c.checkLists, c.checkLeases, c.checkTotals, c.checkCooling,
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return dbfile.ErrUnchanged
	})
	if err != nil && !errors.Is(err, dbfile.ErrUnchanged) {
		return err
	}
	if len(c.problems) > 0 {
		return dbfile.Damaged(f.Path(), strings.Join(c.problems, "; "))
	}
	if len(c.strays) > 0 {
		return &StrayError{Leases: c.strays}
	}
	return nil
}

// maxProblems bounds the length of the error.
const maxProblems = 20

// A checker compares the records with the entries that follow from them.
type checker struct {
	*dbfile.Tx
	ctx      context.Context
	problems []string
	listed   map[string]int // records that belong in each list
	totals   map[string]int // entries that belong in each index
	strays   []record.Lease // leases of no active backup or restore
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
	return c.each(c.Bucket(schema.BucketVMs), func(k, v []byte) {
		var vm record.VM
		if err := schema.Decode(c.Tx, schema.BucketVMs, k, v, &vm); err != nil {
			c.report("%v", err)
		} else if err := vm.Validate(); err != nil || vm.Name != string(k) {
			c.report("vms/%q: holds vm %q: %v", k, vm.Name, err)
		}
	})
}

func (c *checker) checkBackups() error {
	c.listed, c.totals = map[string]int{}, map[string]int{}
	return c.each(c.Bucket(schema.BucketBackups), func(k, v []byte) {
		var b record.Backup
		if err := schema.Decode(c.Tx, schema.BucketBackups, k, v, &b); err != nil {
			c.report("%v", err)
			return
		}
		if b.ID != string(k) || !slices.Contains(record.States, b.State) {
			c.report("backups/%q: holds backup %q, state %q", k, b.ID, b.State)
		}
		if c.Bucket(schema.BucketRemoved).Get(k) != nil {
			c.report("backup %s: is on record and removed", k)
		}
		for _, name := range schema.Lists(b) {
			c.listed[name]++
			if list := c.Bucket(schema.BucketLists).Bucket([]byte(name)); list == nil || !schema.Has(list, schema.ListKey(name, b)) {
				c.report("backup %s: not in list %q", k, name)
			}
		}
		if last := c.Bucket(schema.BucketBackups).Sequence(); b.Sequence > last {
			c.report("backup %s: has sequence %d, and the last one given is %d", k, b.Sequence, last)
		}
		c.checkVerified(b)
		if b.RequestID != "" {
			c.entry(schema.BucketRequests, b.RequestID, b)
		}
		if b.State.Active() {
			c.checkHoldings(b)
		}
	})
}

// checkHoldings checks what an active backup must hold: its claims, its leases, its place as the active backup of the VM.
func (c *checker) checkHoldings(b record.Backup) {
	c.entry(schema.BucketActive, b.VM.Name, b)
	if err := rules.CheckParent(c.Tx, b); err != nil {
		c.report("backup %s: %v", b.ID, err)
	}
	for _, key := range schema.Claims(b) {
		c.entry(schema.BucketClaims, key, b)
	}
	for _, run := range b.Runs {
		c.totals[string(schema.BucketLeases)]++
		var l record.Lease
		ok, err := schema.Get(c.Tx, schema.BucketLeases, schema.EncodePort(run.Port), &l)
		if err != nil || !ok || l.BackupID != b.ID || l.DiskID != run.DiskID || l.Port != run.Port ||
			!strings.Contains(run.Unit, l.Nonce) {
			c.report("backup %s: disk %d: port %d: lease %+v, error %v", b.ID, run.DiskID, run.Port, l, err)
		}
	}
}

// entry checks that an index names a record under a key, and counts the entry.
func (c *checker) entry(bucket []byte, key string, b record.Backup) {
	c.totals[string(bucket)]++
	if id := c.Bucket(bucket).Get([]byte(key)); string(id) != b.ID {
		c.report("backup %s: %s/%q names %q", b.ID, bucket, key, id)
	}
}

// checkLists counts the entries of each list. Every record is in its lists, so a list that is too long has entries without a
// record.
func (c *checker) checkLists() error {
	root := c.Bucket(schema.BucketLists)
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

// checkLeases finds leases that no active backup or restore has.
func (c *checker) checkLeases() error {
	return c.each(c.Bucket(schema.BucketLeases), func(k, v []byte) {
		var l record.Lease
		if err := schema.Decode(c.Tx, schema.BucketLeases, k, v, &l); err != nil {
			c.report("%v", err)
		} else if stray, err := rules.Stray(c.Tx, l); err != nil {
			c.report("%v", err)
		} else if stray {
			c.strays = append(c.strays, l)
			c.totals[string(schema.BucketLeases)]++
		}
	})
}

// checkTotals counts the entries of the other indexes, to find those without a record.
func (c *checker) checkTotals() error {
	for _, bucket := range [][]byte{schema.BucketActive, schema.BucketActiveRestores, schema.BucketLeases, schema.BucketClaims, schema.BucketRequests, schema.BucketVerified, schema.BucketVerifiedDeep} {
		if n := schema.Count(c.Tx, bucket); n != c.totals[string(bucket)] {
			c.report("%s: %d entries where the records have %d", bucket, n, c.totals[string(bucket)])
		}
	}
	return c.ctx.Err()
}

// checkCooling checks that nothing in use cools down, and that only ended backups cool down.
func (c *checker) checkCooling() error {
	for _, pair := range []struct{ cooling, used []byte }{
		{schema.BucketCoolingPorts, schema.BucketLeases},
		{schema.BucketCoolingVMs, schema.BucketActive},
	} {
		err := schema.EachCooling(c.Tx, pair.cooling, func(key []byte, s schema.Stamp) error {
			if c.Bucket(pair.used).Get(key) != nil {
				c.report("%s/%x: also in %s", pair.cooling, key, pair.used)
			}
			if b, err := schema.Backup(c.Tx, s.BackupID); err == nil && b.State.Active() {
				c.report("%s/%x: backup %s is %s", pair.cooling, key, b.ID, b.State)
			}
			return c.ctx.Err()
		})
		if errors.Is(err, dbfile.ErrDamaged) {
			c.report("%v", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// StrayError says that there are leases of no active backup or restore. Nothing in package store makes such leases.
type StrayError struct{ Leases []record.Lease }

func (e *StrayError) Error() string {
	text := make([]string, len(e.Leases))
	for i, l := range e.Leases {
		text[i] = fmt.Sprintf("port %d of backup %q", l.Port, l.BackupID)
	}
	return "leases of no active backup: " + strings.Join(text, ", ") + ": the daemon returns them when it starts"
}

// checkVerified checks that a restore point is in both orders of verification.
func (c *checker) checkVerified(b record.Backup) {
	shallow, deep := schema.VerifiedKeys(&b)
	for bucket, key := range map[string][]byte{string(schema.BucketVerified): shallow, string(schema.BucketVerifiedDeep): deep} {
		if key == nil {
			continue
		}
		c.totals[bucket]++
		if !schema.Has(c.Bucket([]byte(bucket)), key) {
			c.report("backup %s: not in %s", b.ID, bucket)
		}
	}
}
