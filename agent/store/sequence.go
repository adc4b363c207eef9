package store

import (
	"encoding/binary"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// nextSequence is that of a record which is made now: higher than any that was given, also should the file have been mended by
// hand.
func (t *tx) nextSequence(repository, vm string) (uint64, error) {
	records := t.Bucket(bucketBackups)
	next, err := records.NextSequence()
	if err != nil {
		return 0, err
	}
	list := t.Bucket(bucketLists).Bucket([]byte(listOrder(repository, vm)))
	if list == nil {
		return next, nil
	}
	last, _ := list.Cursor().Last()
	if len(last) < timeBytes || binary.BigEndian.Uint64(last) < next {
		return next, nil
	}
	next = binary.BigEndian.Uint64(last) + 1
	return next, records.SetSequence(next)
}

// importSequence is that of a record which is imported. A restore point comes after the one that it stands on.
func (t *tx) importSequence(b record.Backup) (uint64, error) {
	made := []record.Made{{ID: b.ID, Parent: b.Parent, Sequence: b.Sequence, CreatedAt: b.CreatedAt}}
	var parent record.Backup
	known, err := t.get(bucketBackups, []byte(b.Parent), &parent)
	if err != nil {
		return 0, err
	}
	if known {
		made = append(made, record.Made{ID: parent.ID, Sequence: parent.Sequence, CreatedAt: parent.CreatedAt})
	}
	sequence := record.Sequences(made, b.CreatedAt)[b.ID] // no date of a single record is in the future
	records := t.Bucket(bucketBackups)
	if sequence <= records.Sequence() {
		return sequence, nil
	}
	return sequence, records.SetSequence(sequence)
}

// LatestCompleted returns the completed backup of a VM in a repository that was made last, whatever its date says, and whether
// there is one.
func (s *Store) LatestCompleted(vmName, repository string) (b record.Backup, found bool, err error) {
	return s.latest(vmName, repository, func(record.Backup, *damage) bool { return true })
}

// LatestGood is LatestCompleted of those backups that are not known to be damaged, and were not made in the future as of now.
func (s *Store) LatestGood(vmName, repository string, now time.Time) (b record.Backup, found bool, err error) {
	return s.latest(vmName, repository, func(b record.Backup, d *damage) bool {
		return !d.has(b.ID) && !record.Future(b.CreatedAt, now)
	})
}

// latest is the one made last that f selects, which must only compute.
func (s *Store) latest(vmName, repository string, f func(record.Backup, *damage) bool) (b record.Backup, found bool, err error) {
	err = s.view(func(t *tx) error {
		name := listOrder(repository, vmName)
		list := t.Bucket(bucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		d, err := s.damage(t)
		if err != nil {
			return err
		}
		c := list.Cursor()
		for k, _ := c.Last(); k != nil && !found; k, _ = c.Prev() {
			if b, err = t.listed(name, k); err != nil {
				return err
			}
			found = f(b, d)
		}
		d.fill(&b)
		return nil
	})
	if err != nil || !found {
		return record.Backup{}, false, err
	}
	return b, true, nil
}

// FuturePoints returns the restore points whose dates lie in the future as of now, at most limit of them, and how many there
// are. It reads no other.
func (s *Store) FuturePoints(now time.Time, limit int) (points []record.Backup, total int, err error) {
	err = s.view(func(t *tx) error {
		name := listState(record.Completed)
		list := t.Bucket(bucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		c := list.Cursor()
		for k, _ := c.Last(); len(k) > timeBytes && record.Future(decodeTime(k), now); k, _ = c.Prev() {
			if total++; total > limit {
				continue
			}
			b, err := t.listed(name, k)
			if err != nil {
				return err
			}
			points = append(points, b)
		}
		return nil
	})
	return points, total, err
}
