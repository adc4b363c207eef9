// Package store keeps VMs, backups, restores and port leases in one bbolt file. It writes: it adds, changes and removes
// records, and updates everything that follows from them. The packages below it are the file itself (dbfile), the content of
// the file (schema: read that first), the questions (query), the rules that refuse a change (rules), and the check of a whole
// file (check).
//
// Everything unique (the active backup of a VM, the holder of a port, an id, the name of a unit) is decided inside the
// transaction that writes it. Transactions are short and only read and write the file. All methods may be called from any
// goroutine. An error means that nothing was written, unless it is ErrUnsynced.
//
// The record of a backup changes in Update alone, and the record of a restore in UpdateRestore. So a caller that must tell
// others of each change has one place for it.
package store

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/store/check"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// DefaultTimeout is how long Open waits until another process unlocks the file.
const DefaultTimeout = dbfile.DefaultTimeout

// Options say how to open a database.
type Options struct {
	Timeout   time.Duration // longest wait for the file's lock; 0 = DefaultTimeout
	MustExist bool          // a missing database is an error, fs.ErrNotExist, and is not made
	Cooldown  time.Duration // for how long every VM cools down after a transaction may have been lost; see Recovery
	NoSync    bool          // commits do not wait for the disk: a power failure may damage the database
}

// A Store is an open database.
type Store struct {
	*query.Reader
	scheduling
	file *dbfile.File
}

func newStore(f *dbfile.File) *Store {
	return &Store{Reader: query.NewReader(f), scheduling: scheduling{f}, file: f}
}

// Open opens the database at path, makes a new one if there is no file, and brings an older schema up to date. The directory
// must exist. It returns a *LockedError when another process has the database open, a *NewerSchemaError when a newer agent
// wrote it, and an error that wraps ErrDamaged when it is no database or is damaged. If one of its two header pages is damaged,
// Open recovers the database by the other one, and Recovery tells of it.
func Open(path string, o Options) (*Store, error) { return open(path, o, schema.Migrations) }

func open(path string, o Options, steps []schema.Migration) (*Store, error) {
	f, err := dbfile.Open(path, dbfile.Options{Timeout: o.Timeout, MustExist: o.MustExist, NoSync: o.NoSync}, content(o.Cooldown, steps))
	if err != nil {
		return nil, err
	}
	return newStore(f), nil
}

// content is what the file of a database holds.
func content(cooldown time.Duration, steps []schema.Migration) dbfile.Content {
	return dbfile.Content{
		Make: func(t *bolt.Tx) error { return schema.Migrate(t, 0, steps) },
		Upgrade: func(f *dbfile.File) error {
			if err := schema.Upgrade(f, steps); err != nil {
				return err
			}
			return newStore(f).usable()
		},
		Lost: func(f *dbfile.File) error { return newStore(f).MarkRebuilt(time.Now().Add(cooldown)) },
		Check: func(f *dbfile.File) error {
			err := newStore(f).Check(context.Background())
			if stray := new(check.StrayError); errors.As(err, &stray) { // the agent returns stray leases and logs it
				return nil
			}
			return err
		},
	}
}

// usable reads what every start of the agent needs.
func (s *Store) usable() error {
	err := s.file.View(func(t *dbfile.Tx) error {
		for _, name := range schema.Buckets {
			if t.Bucket(name) == nil {
				return t.Damaged("bucket %s is missing", name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err = s.Leases(); err != nil {
		return err
	}
	if _, err = s.Active(); err != nil {
		return err
	}
	_, err = s.ActiveRestores()
	return err
}

// Check reads the whole database. It returns an error that wraps ErrDamaged and names what is wrong: in bbolt's own structure,
// in a record, or between records and indexes (every lease has its active backup, every active backup its leases, one active
// backup per VM, each record in its lists and in no other). Writers wait meanwhile. bbolt's own check does not stop when ctx
// ends. If only leases without an active backup or restore are wrong, the error is a *StrayError: ReturnStray returns these
// leases.
func (s *Store) Check(ctx context.Context) error {
	return check.Run(ctx, s.file, s.file.Update) // a writing transaction: nobody may write during bbolt's check
}

// Replace makes a new database, has fill fill it, and replaces the file at path by it, which is damaged or missing. The old
// file is kept beside it under the returned name; "" if there was none. At every moment the path shows the old file or the new
// database, whole. It returns a *LockedError when another process has the old file open, and an error that is fs.ErrExist when
// there was none and another process was faster.
func Replace(path string, fill func(*Store) error) (aside string, err error) {
	return dbfile.Replace(path, func(fresh string) error {
		s, err := Open(fresh, Options{})
		if err != nil {
			return err
		}
		if err = fill(s); err == nil {
			err = s.Check(context.Background())
		}
		return errors.Join(err, s.Close())
	})
}
