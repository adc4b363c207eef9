package crashtest_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/rpc"
)

// inMidCopy leaves a backup in mid copy, whose daemon was killed.
func inMidCopy(c *crash, request string) rpc.Backup {
	c.Helper()
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
	mine := c.request
	c.request.RequestID = request
	b, err := heldCopy(ctx, c)
	must(c.T, err)
	c.request = mine
	c.daemon.kill()
	return b
}

// loseDatabase leaves a restore point, a backup in mid copy, and of the database what harm makes of it: nothing, if it makes
// nothing.
func loseDatabase(harm func(path string) error) func(*crash) {
	return func(c *crash) {
		afterFull(c)
		inMidCopy(c, "lost")
		must(c.T, os.Rename(c.db.path(), c.db.path()+".old"))
		must(c.T, harm(c.db.path()))
		must(c.T, os.Remove(c.db.path()+".old"))
	}
}

// loseDatabaseInMidMerge leaves a restore point between the two renames of the commit of its merge, and no database.
func loseDatabaseInMidMerge(c *crash) {
	afterChain("")(c)
	c.cutShort("merge: old one renamed", consolidateNewest)
	c.daemon.kill()
	must(c.T, os.Remove(c.db.path()))
}

// overwrite leaves the two pages that say where everything is, and noise in all others.
func overwrite(path string) error {
	noise, err := os.ReadFile(path + ".old")
	if err != nil {
		return err
	}
	_, _ = rand.Read(noise[2*os.Getpagesize():])
	return os.WriteFile(path, noise, 0o600)
}

// adoptedBefore leaves a lost backup that another daemon has put on record, and was killed before it did anything about it.
func adoptedBefore(c *crash) {
	loseDatabase(func(string) error { return nil })(c)
	c.stopAt("after adopt")
	c.boot()
	if !c.reached() {
		c.Fatal("no lost backup was adopted")
	}
}

// strayLease puts a lease on record that no backup has.
func strayLease(c *crash) {
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
	c.halt()
	l := record.Lease{Port: uint16(c.firstPort() + 3), BackupID: "backup-nobody-1", Nonce: "00000000"}
	value, err := json.Marshal(l)
	must(c.T, err)
	db, err := bolt.Open(c.db.path(), 0o600, &bolt.Options{Timeout: patient})
	must(c.T, err)
	err = db.Update(func(t *bolt.Tx) error {
		return t.Bucket([]byte("leases")).Put(binary.BigEndian.AppendUint16(nil, l.Port), value)
	})
	must(c.T, errors.Join(err, db.Close()))
}

// unseenRepository leaves a chain in the repository, and a database that an agent has made that never saw it.
func unseenRepository(c *crash) {
	afterChain("")(c)
	path := filepath.Join(c.TempDir(), "agent.db")
	s, err := store.Open(path, store.Options{})
	must(c.T, err)
	must(c.T, s.Close())
	text, err := os.ReadFile(path)
	must(c.T, err)
	must(c.T, os.WriteFile(c.db.path(), text, 0o600))
}

// imported waits until the three restore points of unseenRepository and their VM are on record, and the catalog agrees with the repository.
func imported(ctx context.Context, c *crash) error {
	for {
		var status rpc.AgentStatus
		err := c.with(ctx, func(client *rpc.Client) (err error) {
			status, err = client.Status(ctx)
			return err
		})
		if err != nil {
			return err
		}
		r := status.Repositories[0]
		if r.RestorePoints == 3 && status.VMs == 1 && !r.Catalog.ComparedAt.IsZero() && !r.Catalog.Importing && !r.Catalog.Waiting && status.CatalogDifferences == 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not imported: %+v: %w", r, context.Cause(ctx))
		}
	}
}

func leasesReturned(ctx context.Context, c *crash) error {
	for {
		var status rpc.AgentStatus
		err := c.with(ctx, func(client *rpc.Client) (err error) {
			status, err = client.Status(ctx)
			return err
		})
		if err != nil || status.Ports.Leased == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d leases: %w", status.Ports.Leased, context.Cause(ctx))
		}
	}
}

// otherBoot leaves a backup in mid copy that began before the host was restarted, as far as its record says.
func otherBoot(c *crash) {
	b := inMidCopy(c, c.request.RequestID)
	s, err := store.Open(c.db.path(), store.Options{})
	must(c.T, err)
	_, _, err = s.Update(b.BackupID, time.Now(), func(b *record.Backup) error {
		b.BootID = "another"
		return nil
	})
	must(c.T, errors.Join(err, s.Close()))
}

// olderSchema leaves a backup in mid copy, and the database as an agent of schema version 1 would have it.
func olderSchema(c *crash) {
	inMidCopy(c, c.request.RequestID)
	db, err := bolt.Open(c.db.path(), 0o600, &bolt.Options{Timeout: patient})
	must(c.T, err)
	err = db.Update(func(t *bolt.Tx) error {
		return errors.Join(
			t.DeleteBucket([]byte("restores")), t.DeleteBucket([]byte("active_restores")),
			t.DeleteBucket([]byte("verified")), t.DeleteBucket([]byte("verified_deep")),
			t.Bucket([]byte("meta")).Put([]byte("schema"), []byte("1")),
		)
	})
	must(c.T, errors.Join(err, db.Close()))
}

// headerZeroed leaves a backup in mid copy, and the database without the header page that describes its last transaction.
// The daemon is stopped, not killed: a transaction that is cut short may have overwritten what the other page describes.
func headerZeroed(c *crash) {
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, c.vm))
	_, err := heldCopy(ctx, c)
	must(c.T, err)
	c.halt()
	c.db.zeroHeader(c.db.newestHeader())
}

// newestHeader is the page that describes the last transaction. It is read as any file: to map the database into this process, which
// may have to answer for the file system, would be its end.
func (c databaseSteps) newestHeader() int {
	c.Helper()
	file, err := os.Open(c.path())
	must(c.T, err)
	defer file.Close()
	var numbers [2]uint64
	for page := range numbers {
		number := make([]byte, 8)
		_, err := file.ReadAt(number, int64(page*os.Getpagesize()+16+48)) // behind the page's own header, and what comes before it
		must(c.T, err)
		numbers[page] = binary.NativeEndian.Uint64(number)
	}
	if numbers[1] > numbers[0] {
		return 1
	}
	return 0
}

// zeroHeader takes one of the two header pages of the database away.
func (c databaseSteps) zeroHeader(page int) {
	c.Helper()
	file, err := os.OpenFile(c.path(), os.O_WRONLY, 0)
	must(c.T, err)
	_, err = file.WriteAt(make([]byte, os.Getpagesize()), int64(page*os.Getpagesize()))
	must(c.T, errors.Join(err, file.Close()))
}

// copyGoesOn has the copy that stands still go on to its end.
func copyGoesOn(ctx context.Context, c *crash) error {
	c.release()
	return c.ended(ctx)
}

// allEnded waits until every backup has ended.
func allEnded(ctx context.Context, c *crash) error { return c.ended(ctx) }
