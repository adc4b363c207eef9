package store

import (
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// RemoveBackup forgets a backup that is being deleted; its id is never given again. It returns a *NotFoundError when there
// is no such backup, and a *StateError when it is in another state: that it is being deleted must stand on record before its
// images go, so that no backup chooses them as its parent, and so that a crash does not leave them half there for ever.
func (s *Store) RemoveBackup(id string, now time.Time) error {
	if err := checkTime("now", now); err != nil {
		return err
	}
	return s.update(func(t *tx) error {
		b, err := t.backup(id)
		if err != nil {
			return err
		}
		if b.State != record.Deleting {
			return &StateError{BackupID: b.ID, State: b.State, Action: "removing its record"}
		}
		if err := t.index(&b, nil); err != nil {
			return err
		}
		if b.RequestID != "" {
			if err := t.Bucket(bucketRequests).Delete([]byte(b.RequestID)); err != nil {
				return err
			}
		}
		if err := t.Bucket(bucketRemoved).Put([]byte(id), append(encodeTime(now), b.Directory...)); err != nil {
			return err
		}
		return t.Bucket(bucketBackups).Delete([]byte(id))
	})
}

// Removed says whether there was a backup of that id which RemoveBackup has removed.
func (s *Store) Removed(id string) (removed bool, err error) {
	err = s.view(func(t *tx) error {
		removed = id != "" && t.Bucket(bucketRemoved).Get([]byte(id)) != nil
		return nil
	})
	return removed, err
}

// RemovedFrom is the directory that a removed backup had; "" if it had none, or if there is no such backup.
func (s *Store) RemovedFrom(id string) (directory string, err error) {
	err = s.view(func(t *tx) error {
		if value := t.Bucket(bucketRemoved).Get([]byte(id)); id != "" && len(value) > timeBytes {
			directory = string(value[timeBytes:])
		}
		return nil
	})
	return directory, err
}

// Import puts an ended backup on record that this database has never held, as read from a manifest: the way back from
// a lost database. A backup that is on record, or was removed, is left as it is: added is false. Its sequence stays, unless
// it has none, or it stands on one with a higher one: see Order.
func (s *Store) Import(b record.Backup) (added bool, err error) {
	if err := checkImport(b); err != nil {
		return false, err
	}
	if b, err = clone(b); err != nil {
		return false, err
	}
	b.RequestID = "" // the request was answered long ago, and another may have its id
	err = s.update(func(t *tx) (err error) {
		key := []byte(b.ID)
		if t.Bucket(bucketBackups).Get(key) != nil || t.Bucket(bucketRemoved).Get(key) != nil {
			return errUnchanged
		}
		added = true
		if b.Sequence, err = t.importSequence(b); err != nil {
			return err
		}
		if err := t.index(nil, &b); err != nil {
			return err
		}
		return t.put(bucketBackups, key, b)
	})
	return added && err == nil, err
}

func checkImport(b record.Backup) error {
	if err := record.ValidName("backup_id", b.ID); err != nil {
		return err
	}
	if err := record.ValidName("vm name", b.VM.Name); err != nil {
		return err
	}
	if !b.State.Terminal() || b.State == record.Deleting {
		return &StateError{BackupID: b.ID, State: b.State, Action: "importing"}
	}
	if b.Sequence > record.MaxSequence {
		return fmt.Errorf("backup %s: sequence %d: the most is %d", b.ID, b.Sequence, int64(record.MaxSequence))
	}
	return checkTime("backup "+b.ID+": created_at", b.CreatedAt)
}
