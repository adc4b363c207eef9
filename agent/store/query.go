package store

import (
	"encoding/base64"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/backup"
)

// The sizes of a page.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

func pageSize(limit int) int {
	if limit <= 0 {
		return DefaultPage
	}
	return min(limit, MaxPage)
}

// A Query selects backups.
type Query struct {
	VMName string       // "" = every VM
	State  backup.State // "" = every state
	Cursor string       // from the page before; "" = the newest
	Limit  int          // records per page, at most MaxPage; 0 = DefaultPage
}

func (q Query) list() string {
	switch {
	case q.VMName != "" && q.State != "":
		return listVMState(q.VMName, q.State)
	case q.VMName != "":
		return listVM(q.VMName)
	case q.State != "":
		return listState(q.State)
	}
	return listAll
}

// Backup returns the backup of that id, or a *NotFoundError.
func (s *Store) Backup(id string) (backup.Backup, error) {
	var b backup.Backup
	err := s.view(func(t *tx) error {
		var err error
		b, err = t.backup(id)
		return err
	})
	if err != nil {
		return backup.Backup{}, err
	}
	return b, nil
}

// Backups returns the selected backups, newest first. next is the Cursor of the following page, or "" when there is
// none. The work does not depend on how many records there are. Backups made meanwhile do not shift later pages; one
// that changes its state between two pages of a Query by state may be missed. A cursor that no page gave is an error
// that wraps ErrBadCursor.
func (s *Store) Backups(q Query) (page []backup.Backup, next string, err error) {
	before, err := decodeCursor(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := pageSize(q.Limit)
	err = s.view(func(t *tx) error {
		page, next = nil, ""
		list := t.Bucket(bucketLists).Bucket([]byte(q.list()))
		if list == nil {
			return nil
		}
		c := list.Cursor()
		for k := lastBefore(c, before); k != nil; k, _ = c.Prev() {
			if len(page) == limit {
				next = encodeCursor(listKey(page[limit-1]))
				return nil
			}
			b, err := t.listed(q.list(), k)
			if err != nil {
				return err
			}
			page = append(page, b)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

// LatestCompleted returns the newest completed backup of a VM in a repository, and whether there is one.
func (s *Store) LatestCompleted(vmName, repository string) (b backup.Backup, found bool, err error) {
	err = s.view(func(t *tx) error {
		name := listPoints(repository, vmName)
		list := t.Bucket(bucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		k, _ := list.Cursor().Last()
		if k == nil {
			return nil
		}
		var err error
		b, err = t.listed(name, k)
		found = err == nil
		return err
	})
	return b, found, err
}

// listed loads the record that an entry of a list stands for.
func (t *tx) listed(list string, key []byte) (backup.Backup, error) {
	if len(key) <= timeBytes {
		return backup.Backup{}, t.damaged("list %q: entry of %d bytes", list, len(key))
	}
	return t.indexed(bucketLists, []byte(list), listID(key))
}

// lastBefore moves to the last key below the given one, which itself may be gone; nil is the end.
func lastBefore(c *bolt.Cursor, key []byte) []byte {
	if key == nil {
		k, _ := c.Last()
		return k
	}
	if k, _ := c.Seek(key); k == nil { // every key is below
		k, _ = c.Last()
		return k
	}
	k, _ := c.Prev()
	return k
}

func encodeCursor(key []byte) string { return base64.RawURLEncoding.EncodeToString(key) }

func decodeCursor(cursor string) ([]byte, error) {
	if cursor == "" {
		return nil, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || encodeCursor(key) != cursor || len(key) <= timeBytes || backup.ValidName("backup_id", string(listID(key))) != nil {
		return nil, fmt.Errorf("cursor %.100q: %w: give back the one of the page before, or none to start with the newest",
			cursor, ErrBadCursor)
	}
	return key, nil
}
