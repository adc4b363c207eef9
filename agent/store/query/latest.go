package query

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Latest is what the newest records of a VM say. A record with an empty id is none.
type Latest struct {
	Good   record.Backup // the newest restore point in any repository: not damaged, and not dated in the future
	Failed record.Backup // the backup that failed last
}

// LatestOf returns the newest records of each VM, in the order of the names, from one state of the database. Each record that counts is
// read once, however many there are: one restore point for each VM and repository, and one failed backup.
func (r *Reader) LatestOf(vms, repositories []string, now time.Time) (list []Latest, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		d, err := r.damage(t)
		if err != nil {
			return err
		}
		for _, vm := range vms {
			var of Latest
			for _, repository := range repositories {
				b, found, err := newest(t, schema.ListOrder(repository, vm), func(b record.Backup) bool {
					return !d.Has(b.ID) && !record.Future(b.CreatedAt, now)
				})
				if err != nil {
					return err
				}
				if found && (of.Good.ID == "" || Ended(b, now).After(Ended(of.Good, now))) {
					of.Good = b
				}
			}
			if of.Failed, _, err = newest(t, schema.ListVMState(vm, record.Failed), func(record.Backup) bool { return true }); err != nil {
				return err
			}
			list = append(list, of)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Ended is when a restore point was completed. If the clock was set while it was made, and the end is in the future, it is its date.
func Ended(b record.Backup, now time.Time) time.Time {
	if record.Future(b.EndedAt, now) {
		return b.CreatedAt
	}
	return b.EndedAt
}

// newest is the last record of a list that f selects. f must only compute.
func newest(t *dbfile.Tx, name string, f func(record.Backup) bool) (b record.Backup, found bool, err error) {
	list := t.Bucket(schema.BucketLists).Bucket([]byte(name))
	if list == nil {
		return record.Backup{}, false, nil
	}
	c := list.Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if b, err = schema.Listed(t, name, k); err != nil {
			return record.Backup{}, false, err
		}
		if f(b) {
			return b, true, nil
		}
	}
	return record.Backup{}, false, nil
}
