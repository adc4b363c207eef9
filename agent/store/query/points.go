package query

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Merges returns the restore points with a merge in progress, or interrupted.
func (r *Reader) Merges() (list []record.Backup, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		return schema.EachListed(t, schema.ListMerging, func(b record.Backup) error {
			list = append(list, b)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// PointGroups lists the VMs that have restore points, for each repository.
func (r *Reader) PointGroups() (groups []schema.PointGroup, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		root := t.Bucket(schema.BucketLists)
		prefix := "point/"
		c := root.Cursor()
		for k, _ := c.Seek([]byte(prefix)); k != nil && len(k) > len(prefix) && string(k[:len(prefix)]) == prefix; k, _ = c.Next() {
			newest, _ := root.Bucket(k).Cursor().Last()
			b, err := schema.Listed(t, string(k), newest)
			if err != nil {
				return err
			}
			groups = append(groups, schema.PointGroup{Repository: b.Repository, VM: b.VM.Name})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return groups, nil
}

// PointsOf returns every restore point of a VM in a repository, in the reverse order in which they were made.
func (r *Reader) PointsOf(g schema.PointGroup) (list []record.Backup, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		d, err := r.damage(t)
		if err != nil {
			return err
		}
		return schema.EachListed(t, schema.ListOrder(g.Repository, g.VM), func(b record.Backup) error {
			d.fill(&b)
			list = append(list, b)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Children returns the backups that are based on a backup and pin it, the newest first: active ones and completed ones.
func (r *Reader) Children(id string) ([]record.Backup, error) {
	var children []record.Backup
	err := r.file.View(func(t *dbfile.Tx) error {
		name := schema.ListChildren(id)
		list := t.Bucket(schema.BucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		c := list.Cursor()
		for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			b, err := schema.Listed(t, name, k)
			if err != nil {
				return err
			}
			children = append(children, b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return children, nil
}

// LatestCompleted returns the completed backup of a VM in a repository that was made last, whatever its date is, and whether
// there is one.
func (r *Reader) LatestCompleted(vmName, repository string) (b record.Backup, found bool, err error) {
	return r.latest(vmName, repository, func(record.Backup, *Damage) bool { return true })
}

// LatestGood is LatestCompleted without the backups that are known to be damaged, or have a date in the future at the time now.
func (r *Reader) LatestGood(vmName, repository string, now time.Time) (b record.Backup, found bool, err error) {
	return r.latest(vmName, repository, func(b record.Backup, d *Damage) bool {
		return !d.Has(b.ID) && !record.Future(b.CreatedAt, now)
	})
}

// latest is the last one made that f selects. f must only compute.
func (r *Reader) latest(vmName, repository string, f func(record.Backup, *Damage) bool) (b record.Backup, found bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		d, err := r.damage(t)
		if err != nil {
			return err
		}
		b, found, err = newest(t, schema.ListOrder(repository, vmName), func(b record.Backup) bool { return f(b, d) })
		d.fill(&b)
		return err
	})
	if err != nil || !found {
		return record.Backup{}, false, err
	}
	return b, true, nil
}

// FuturePoints returns the restore points with dates in the future at the time now, at most limit of them, and how many there
// are. It reads no other record.
func (r *Reader) FuturePoints(now time.Time, limit int) (points []record.Backup, total int, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		name := schema.ListState(record.Completed)
		list := t.Bucket(schema.BucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		c := list.Cursor()
		for k, _ := c.Last(); len(k) > schema.TimeBytes && record.Future(schema.DecodeTime(k), now); k, _ = c.Prev() {
			if total++; total > limit {
				continue
			}
			b, err := schema.Listed(t, name, k)
			if err != nil {
				return err
			}
			points = append(points, b)
		}
		return nil
	})
	return points, total, err
}
