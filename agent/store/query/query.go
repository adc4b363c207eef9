package query

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
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
	IDPrefix   string            // only ids that begin with it
	VMName     string            // "" = every VM
	State      record.State      // "" = every state
	Repository string            // "" = every repository
	Since      time.Time         // created then or later; zero = any time
	Until      time.Time         // created before; zero = any time
	Damaged    bool              // only damaged restore points, including those based on a damaged one
	Tags       map[string]string // only backups with all of these tags; an empty value matches any
	Cursor     string            // from the previous page; "" = the newest
	Limit      int               // records per page, at most MaxPage; 0 = DefaultPage
}

func (q Query) list() string {
	switch {
	case q.VMName != "" && q.State == record.Completed && q.Repository != "":
		return schema.ListPoints(q.Repository, q.VMName)
	case q.VMName != "" && q.State != "":
		return schema.ListVMState(q.VMName, q.State)
	case q.VMName != "":
		return schema.ListVM(q.VMName)
	case q.State != "":
		return schema.ListState(q.State)
	}
	return schema.ListAll
}

// Backup returns the backup of that id, or a *NotFoundError.
func (r *Reader) Backup(id string) (record.Backup, error) {
	var b record.Backup
	err := r.file.View(func(t *dbfile.Tx) error {
		var err error
		if b, err = schema.Backup(t, id); err != nil {
			return err
		}
		return FillDamage(r, t, &b)
	})
	if err != nil {
		return record.Backup{}, err
	}
	return b, nil
}

// start is the key below which the page begins; nil is the end of the list.
func (q Query) start() ([]byte, error) {
	before, err := decodeCursor(q.Cursor)
	if err == nil {
		err = errors.Join(checkBound("since", q.Since), checkBound("until", q.Until))
	}
	if err != nil || q.Until.IsZero() {
		return before, err
	}
	if until := schema.EncodeTime(q.Until); before == nil || bytes.Compare(until, before) < 0 {
		before = until
	}
	return before, nil
}

func checkBound(what string, t time.Time) error {
	if t.IsZero() || schema.CheckTime(what, t) == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, t.Format(time.RFC3339), ErrBadTime)
}

// Backups returns the selected backups, the newest first by their dates. This is for people: no decision may depend on dates.
// next is the Cursor of the following page, or "" when there is none.
//
// The work does not depend on the number of records. There are no lists by repository alone or by tag, so a page of such a
// Query may have fewer records than asked for, or none, and yet a next page. Backups made meanwhile do not shift later pages. A
// backup whose state changes between two pages of a Query by state may be missed. An unknown cursor is an error that wraps
// ErrBadCursor.
func (r *Reader) Backups(q Query) (page []record.Backup, next string, err error) {
	before, err := q.start()
	if err != nil {
		return nil, "", err
	}
	err = r.file.View(func(t *dbfile.Tx) error {
		d, err := r.damage(t)
		if err != nil {
			return err
		}
		var from keys = &sortedKeys{keys: d.keys}
		if !q.Damaged {
			list := t.Bucket(schema.BucketLists).Bucket([]byte(q.list()))
			if list == nil {
				return nil
			}
			from = listKeys{list.Cursor()}
		}
		if page, next, err = readPage(t, q, from, before); err != nil {
			return err
		}
		for i := range page {
			d.fill(&page[i])
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

func readPage(t *dbfile.Tx, q Query, from keys, before []byte) (page []record.Backup, next string, err error) {
	var since, last []byte
	if !q.Since.IsZero() {
		since = schema.EncodeTime(q.Since)
	}
	looked := 0
	for k := from.before(before); k != nil && bytes.Compare(k, since) >= 0; k = from.prev() {
		if len(page) == pageSize(q.Limit) || looked == MaxPage {
			return page, encodeCursor(last), nil
		}
		if last = k; q.skips(k) {
			continue
		}
		b, err := schema.Listed(t, q.list(), k)
		if err != nil {
			return nil, "", err
		}
		if q.selects(b) {
			page = append(page, b)
		}
		looked++
	}
	return page, "", nil
}

// skips says whether the id in a key does not have the prefix. The key is enough: no record is read.
func (q Query) skips(key []byte) bool {
	return len(key) > schema.TimeBytes && !bytes.HasPrefix(schema.ListID(key), []byte(q.IDPrefix))
}

// selects says whether the query selects a record of its list.
func (q Query) selects(b record.Backup) bool {
	for name, value := range q.Tags {
		if has, ok := b.Tags[name]; !ok || value != "" && has != value {
			return false
		}
	}
	return (q.Repository == "" || b.Repository == q.Repository) && (q.VMName == "" || b.VM.Name == q.VMName) &&
		(q.State == "" || b.State == q.State)
}

// lastBefore moves to the last key below the given one, which may no longer exist; nil is the end of the list.
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
	if err != nil || encodeCursor(key) != cursor || len(key) <= schema.TimeBytes || record.ValidName("backup_id", string(schema.ListID(key))) != nil {
		return nil, fmt.Errorf("cursor %.100q: %w: pass the cursor of the previous page, or none to start with the newest",
			cursor, ErrBadCursor)
	}
	return key, nil
}

// ErrBadTime says that a query has a time at which no record can be made.
var ErrBadTime = errors.New("want a time between 1970 and 2262")

// ErrBadCursor says that a query has a cursor that is none.
var ErrBadCursor = errors.New("invalid cursor")
